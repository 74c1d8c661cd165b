-- TimescaleDB's relation with the batches of a chunk; null if the chunk is not converted.
create function tickline.batches_of(chunk regclass) returns regclass
language sql stable
return (
    select settings.compress_relid
    from _timescaledb_catalog.compression_settings as settings
    where settings.relid = batches_of.chunk
);

-- Rewrite the batches of a chunk that this transaction converted to the columnstore, so that they take fewer bytes.
-- TimescaleDB forbids PostgreSQL to compress its columns of numbers once more (storage external): prices become a third
-- smaller by it. It also moves each value of more than some bytes out of its row, where it has a place of its own and two
-- entries of an index; small ones stay in the row here.
-- `cluster` keeps the rows visible to transactions that began before, as TimescaleDB writes them; `insert` would not.
-- batches: TimescaleDB's relation of a converted chunk. Rows that join it later are written in the same way.
create procedure tickline.pack_batches(batches regclass)
language plpgsql
as $$
declare
    columns constant text := (
        select string_agg(format('alter column %I set storage extended', attname), ', ')
        from pg_attribute
        where attrelid = batches and attnum > 0 and not attisdropped and attstorage = 'e'
    );
    index constant name := (
        select pg_class.relname
        from pg_index
        inner join pg_class on pg_class.oid = pg_index.indexrelid
        where pg_index.indrelid = batches
        limit 1
    );
begin
    execute format('alter table %s %s', batches, concat_ws(', ', columns, 'set (toast_tuple_target = 1000)'));
    execute format('cluster %s using %I', batches, index);
    execute format('alter table %s set without cluster', batches);
end
$$;

-- Convert the chunks of ticks that ended some time ago to the columnstore, and those to which rows were added since. A
-- chunk that fails does not keep the others from it; the procedure then fails, and the job is run again. A chunk that
-- is converted and cannot be packed stays converted.
-- More rows in a batch take fewer bytes, but whoever reads a minute must read all of its batch. TimescaleDB's own policy
-- has one limit for all relations, and bars are better off with its default.
-- config: after, an interval; rows_per_batch, at most; search_path with TimescaleDB's schema.
-- Called outside a transaction: each chunk has its own.
create or replace procedure tickline.compress_ticks(job_id integer, config jsonb)
language plpgsql
as $$
declare
    chunk regclass;
    former regclass;
    batches regclass;
    failure text;
begin
    perform set_config('search_path', config ->> 'search_path', true);
    for chunk in select show_chunks('public.ticks', older_than => (config ->> 'after')::interval)
    loop
        perform
            set_config('search_path', config ->> 'search_path', true),
            set_config('timescaledb.compression_batch_size_limit', config ->> 'rows_per_batch', true);
        former := tickline.batches_of(chunk);
        begin
            perform compress_chunk(chunk);
        exception
            when others then failure := format('not converted to the columnstore: %s: %s', chunk, sqlerrm);
        end;
        batches := tickline.batches_of(chunk);
        if batches is distinct from former then
            begin
                call tickline.pack_batches(batches);
            exception
                when others then failure := format('converted to the columnstore but not packed: %s: %s', chunk, sqlerrm);
            end;
        end if;
        commit;
    end loop;
    if failure is not null then
        raise exception 'chunk %', failure;
    end if;
end
$$;

-- Converted chunks stay as they are. A number that somebody chose stays, too.
select alter_job(job_id, config => jsonb_set(config, '{rows_per_batch}', '2400'))
from timescaledb_information.jobs
where proc_schema = 'tickline' and proc_name = 'compress_ticks' and config ->> 'rows_per_batch' = '3000';
