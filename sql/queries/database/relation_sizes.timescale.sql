-- Size and rows of the public relations that hold data.
-- Rows: one per relation: name; rows, estimated; bytes with indexes; parts: chunks, 0 for a plain table.
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
        relname as name,
        pg_class.oid::regclass as stored_in
    from pg_class
    where relnamespace = 'public'::regnamespace
        and relkind = 'r'
        and relname not in (select name from hypertables)
)

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
    name::text as name,
    approximate_row_count(stored_in) as rows,
    pg_total_relation_size(stored_in) as bytes,
    0 as parts
from plain_tables
order by name
