-- Background jobs of the database.
-- Rows: one per job: relation; job; every: its interval; runs and failures, counted; last_run, next_run.
select
    coalesce(view.view_name, jobs.hypertable_name)::text as relation,
    case jobs.proc_name
        when 'policy_compression' then 'columnstore'
        else jobs.proc_name::text
    end as job,
    jobs.schedule_interval::text as every,
    coalesce(job_stats.total_runs, 0) as runs,
    coalesce(job_stats.total_failures, 0) as failures,
    nullif(job_stats.last_run_started_at, '-infinity') as last_run,
    nullif(jobs.next_start, '-infinity') as next_run
from timescaledb_information.jobs
left join timescaledb_information.job_stats on job_stats.job_id = jobs.job_id
left join timescaledb_information.continuous_aggregates as view
    on view.materialization_hypertable_schema = jobs.hypertable_schema
    and view.materialization_hypertable_name = jobs.hypertable_name
where jobs.hypertable_name is not null
order by relation, job
