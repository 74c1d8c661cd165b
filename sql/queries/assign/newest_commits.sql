-- When batches of each collector were committed last: of those whose ledger moved lately. By the primary key, backwards.
-- Parameters: collectors text[]; within_s float8, seconds.
-- Columns: collector text; age_s float8, seconds since its newest commit. Expect: at most one row per collector.
select
    recent.collector,
    extract(epoch from now() - max(recent.written_at))::float8 as age_s
from (
    select
        collector,
        written_at
    from tickline.ledger
    order by batch_id desc
    limit 1000
) as recent
where recent.collector = any(%(collectors)s::text[]) and recent.written_at > now() - %(within_s)s * interval '1 second'
group by recent.collector
