-- Whether this login may store signals, on this server: a standby stores nothing.
-- No parameters. Columns: may_store bool. Expect: one row.
select
    not pg_is_in_recovery()
    and has_table_privilege('public.signals', 'insert')
    and has_table_privilege('public.signals', 'update') as may_store
