-- Background jobs of the database: of its relations, and those that a user added.
-- Columns: job_id int4; relation text, null: none; job text; every text: its interval; runs, failures int8, counted;
-- last_run, next_run timestamptz; last_error_at timestamptz and last_error text, null: no error on record, or not
-- visible to this user; fails bool: no run has succeeded since the last error. Rows: one per job.
with last_errors as (
    select distinct on (job_id)
        job_id,
        coalesce(finish_time, start_time) as at,
        coalesce(err_message, 'sqlstate ' || sqlerrcode) as message
    from timescaledb_information.job_errors
    where coalesce(err_message, sqlerrcode) is not null -- a run that has not ended has neither
    order by job_id, coalesce(finish_time, start_time) desc
)

select
    jobs.job_id,
    case
        when jobs.proc_schema = 'tickline' and jobs.proc_name = 'compress_ticks' then 'ticks'
        else coalesce(view.view_name, jobs.hypertable_name)::text
    end as relation,
    case
        when jobs.proc_name in ('policy_compression', 'compress_ticks') then 'columnstore'
        else jobs.proc_name::text
    end as job,
    jobs.schedule_interval::text as every,
    coalesce(job_stats.total_runs, 0) as runs,
    coalesce(job_stats.total_failures, 0) as failures,
    nullif(job_stats.last_run_started_at, '-infinity') as last_run,
    nullif(jobs.next_start, '-infinity') as next_run,
    last_errors.at as last_error_at,
    last_errors.message as last_error,
    last_errors.at is not null
    and last_errors.at > coalesce(job_stats.last_successful_finish, '-infinity') as fails
from timescaledb_information.jobs
left join timescaledb_information.job_stats on job_stats.job_id = jobs.job_id
left join timescaledb_information.continuous_aggregates as view
    on view.materialization_hypertable_schema = jobs.hypertable_schema
    and view.materialization_hypertable_name = jobs.hypertable_name
left join last_errors on last_errors.job_id = jobs.job_id
where jobs.hypertable_name is not null or jobs.job_id >= 1000 -- TimescaleDB's own jobs have lower numbers
order by relation, job, jobs.job_id
