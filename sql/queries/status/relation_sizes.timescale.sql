-- Size and rows of the relations that hold data; those of schema tickline are named with it.
-- Rows: one per relation, largest first: name; rows, estimated by the last analyze; bytes with indexes; parts: chunks,
-- 0 for a plain table; bytes_per_row float8, null: no rows known.
with hypertables as (
    select
        hypertable_name as name,
        hypertable_schema as stored_schema,
        hypertable_name as stored_name
    from timescaledb_information.hypertables
    where hypertable_schema = 'public'
    union all
    select
        view_name as name,
        materialization_hypertable_schema as stored_schema,
        materialization_hypertable_name as stored_name
    from timescaledb_information.continuous_aggregates
    where view_schema = 'public'
),

plain_tables as (
    select
        case relnamespace when 'public'::regnamespace then relname::text else 'tickline.' || relname end as name,
        pg_class.oid::regclass as stored_in
    from pg_class
    where relkind = 'r'
        and (
            relnamespace = 'public'::regnamespace
            and relname not in (select name from hypertables)
            or relnamespace = 'tickline'::regnamespace
            and relname <> 'tick_template'
        )
),

sizes as (
    select
        name::text as name,
        approximate_row_count(format('%I.%I', stored_schema, stored_name)::regclass) as rows,
        hypertable_size(format('%I.%I', stored_schema, stored_name)::regclass) as bytes,
        (
            select count(*)
            from timescaledb_information.chunks
            where hypertable_schema = stored_schema and hypertable_name = stored_name
        )::int as parts
    from hypertables
    union all
    select
        name,
        approximate_row_count(stored_in) as rows,
        pg_total_relation_size(stored_in) as bytes,
        0 as parts
    from plain_tables
)

select
    name,
    rows,
    bytes,
    parts,
    bytes::float8 / nullif(rows, 0) as bytes_per_row
from sizes
order by bytes desc, name
