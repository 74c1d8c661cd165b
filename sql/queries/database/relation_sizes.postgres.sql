-- Size and rows of the public relations that hold data.
-- Rows: one per relation: name; rows, estimated; bytes with indexes; parts: partitions, 0 for a plain table.
with relations as (
    select
        relname as name,
        pg_class.oid::regclass as stored_in
    from pg_class
    where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
    union all
    select
        unnest(array['bars_1m', 'bars_5m']) as name,
        unnest(array['tickline.bars_1m_stored', 'tickline.bars_5m_stored'])::regclass as stored_in
)

select
    name::text as name,
    sum(greatest(part.reltuples, 0))::bigint as rows,
    sum(pg_total_relation_size(part.oid))::bigint as bytes,
    (count(*) - 1)::int as parts
from relations
cross join lateral (
    select stored_in::oid as relid
    union
    select partition.relid from pg_partition_tree(stored_in) as partition
) as tree
inner join pg_class as part on part.oid = tree.relid
group by name
order by name
