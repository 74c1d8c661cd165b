-- A batch that continues the newest ledger row of its stream extends that row, in the transaction that copies its ticks.
-- A row for each batch takes more room than the ticks where batches are small.
alter table tickline.ledger add column batches integer not null default 1;

comment on table tickline.ledger is 'committed records, each row a range of a journal segment: its newest batch and the ticks of that batch are one transaction';
comment on column tickline.ledger.batches is 'number of transactions that committed the range';
comment on column tickline.ledger.digest is 'CRC-32C of the payloads of all committed records of the stream up to offset_end, hexadecimal';
comment on column tickline.ledger.written_at is 'when the newest batch of the row was written';

-- An extended row has a new version. It stays on its page, where the next one clears the versions that nobody sees any
-- more, so that neither table nor indexes grow. What long queries keep is vacuumed early, because the table is small,
-- and analyzed rarely, because its statistics hardly change.
alter table tickline.ledger set (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_threshold = 20000
);

-- Rows of earlier versions: neighbours become one row if they begin in the same MiB of a segment and continue each
-- other's bytes and record numbers. The digest of the last one is that of all. Ticks of several market days stay apart,
-- because a day is found by the first and the last tick of a row. The table is written again, because rows that are
-- deleted one by one leave their pages to the indexes.
create temporary table merged_ledger on commit drop as
with placed as (
    select
        *,
        offset_start / 1048576 as part,
        (first_ts at time zone 'Asia/Kolkata')::date as first_day,
        (last_ts at time zone 'Asia/Kolkata')::date as last_day
    from tickline.ledger
),

compared as (
    select
        *,
        (
            offset_start = lag(offset_end) over neighbours
            and first_seq = lag(last_seq) over neighbours + 1
            and batch_id > lag(batch_id) over neighbours
            and (
                min(first_day) over whole_part = max(last_day) over whole_part
                or min(first_day) over whole_part is null
                or (first_day, last_day) is not distinct from (lag(first_day) over neighbours, lag(last_day) over neighbours)
            )
        ) is true as continues
    from placed
    window
        whole_part as (partition by collector, segment, part),
        neighbours as (partition by collector, segment, part order by offset_start)
),

numbered as (
    select
        *,
        count(*) filter (where not continues) over (partition by collector, segment order by offset_start) as run
    from compared
)

select
    min(batch_id) as batch_id,
    collector,
    segment,
    min(offset_start) as offset_start,
    max(offset_end) as offset_end,
    min(first_seq) as first_seq,
    max(last_seq) as last_seq,
    sum(frames)::integer as frames,
    sum(ticks)::integer as ticks,
    sum(rejected)::integer as rejected,
    sum(quarantined)::integer as quarantined,
    sum(duplicates)::integer as duplicates,
    min(first_ts) as first_ts,
    max(last_ts) as last_ts,
    (array_agg(digest order by offset_start desc))[1] as digest,
    max(written_at) as written_at,
    count(*)::integer as batches
from numbered
group by collector, segment, run;

truncate tickline.ledger;

insert into tickline.ledger (
    batch_id, collector, segment, offset_start, offset_end, first_seq, last_seq,
    frames, ticks, rejected, quarantined, duplicates, first_ts, last_ts, digest, written_at, batches
)
overriding system value
select
    batch_id,
    collector,
    segment,
    offset_start,
    offset_end,
    first_seq,
    last_seq,
    frames,
    ticks,
    rejected,
    quarantined,
    duplicates,
    first_ts,
    last_ts,
    digest,
    written_at,
    batches
from merged_ledger
order by batch_id;
