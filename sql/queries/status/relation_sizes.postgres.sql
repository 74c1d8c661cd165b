-- Size and rows of the relations that hold data; those of schema tickline are named with it.
-- Rows: one per relation, largest first: name; rows, estimated by the last analyze; bytes with indexes; parts:
-- partitions, 0 for a plain table; bytes_per_row float8, null: no rows known.
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
    union all
    select
        'tickline.' || relname as name,
        pg_class.oid::regclass as stored_in
    from pg_class
    where relnamespace = 'tickline'::regnamespace
        and relkind = 'r'
        and not relispartition
        and relname not in ('bars_1m_stored', 'bars_5m_stored', 'tick_template')
),

sizes as (
    select
        name::text as name,
        coalesce(sum(greatest(part.reltuples, 0)) filter (where part.relkind = 'r'), 0)::bigint as rows,
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
)

select
    name,
    rows,
    bytes,
    parts,
    bytes::float8 / nullif(rows, 0) as bytes_per_row
from sizes
order by bytes desc, name
