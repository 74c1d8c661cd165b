-- What a feed can make grow besides ticks has a limit for each day and collector. What is beyond it is counted, here
-- and in the ledger row of its batch; the journal has its frames.
create table tickline.side_rows (
    collector text not null,
    relation text not null,
    day date not null,
    kept bigint not null default 0,
    kept_bytes bigint not null default 0,
    left_out bigint not null default 0,
    constraint side_rows_pkey primary key (collector, relation, day),
    constraint side_rows_counts_check check (kept >= 0 and kept_bytes >= 0 and left_out >= 0)
);

comment on table tickline.side_rows is 'rows that the writer added to rejected_ticks and quarantined_frames, and rows beyond the day''s limit';
comment on column tickline.side_rows.collector is 'which ingester';
comment on column tickline.side_rows.relation is 'rejected_ticks or quarantined_frames';
comment on column tickline.side_rows.day is 'market-local day of the commit';
comment on column tickline.side_rows.kept is 'rows added';
comment on column tickline.side_rows.kept_bytes is 'bytes of their payloads';
comment on column tickline.side_rows.left_out is 'rows beyond the limit, which are only counted';

alter table tickline.ledger add column unlisted_updates integer;
alter table tickline.ledger add column unlisted_frames integer;

comment on column tickline.ledger.rejected is 'updates that made no tick';
comment on column tickline.ledger.quarantined is 'frames that made no tick because they could not be read';
comment on column tickline.ledger.unlisted_updates is 'of rejected: updates without a row in rejected_ticks, because the day''s limit was reached, which their frame alone does not show; null: none';
comment on column tickline.ledger.unlisted_frames is 'of quarantined: frames without a row in quarantined_frames, because the day''s limit was reached; null: none';
