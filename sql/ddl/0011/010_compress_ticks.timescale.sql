-- Convert the chunks of ticks that ended some time ago to the columnstore, and those to which rows were added since. A
-- chunk that fails does not keep the others from it; the procedure then fails, and the job is run again.
-- More rows in a batch take fewer bytes, but whoever reads a minute must read all of its batch. TimescaleDB's own policy
-- has one limit for all relations, and bars are better off with its default.
-- config: after, an interval; rows_per_batch, at most; search_path with TimescaleDB's schema.
-- Called outside a transaction: each chunk has its own.
create procedure tickline.compress_ticks(job_id integer, config jsonb)
language plpgsql
as $$
declare
    chunk regclass;
    failure text;
begin
    perform set_config('search_path', config ->> 'search_path', true);
    for chunk in select show_chunks('public.ticks', older_than => (config ->> 'after')::interval)
    loop
        perform
            set_config('search_path', config ->> 'search_path', true),
            set_config('timescaledb.compression_batch_size_limit', config ->> 'rows_per_batch', true);
        begin
            perform compress_chunk(chunk);
        exception
            when others then failure := format('%s: %s', chunk, sqlerrm);
        end;
        commit;
    end loop;
    if failure is not null then
        raise exception 'chunk not converted to the columnstore: %', failure;
    end if;
end
$$;

select remove_compression_policy('public.ticks', if_exists => true);

-- A day after its end a session is complete and repaired.
select add_job(
    'tickline.compress_ticks',
    interval '12 hours',
    config => jsonb_build_object(
        'after', '1 day', 'rows_per_batch', 3000, 'search_path', current_setting('search_path')
    )
);
