-- Whether this login may store signals. No parameters. Columns: may_store bool. Expect: one row.
select has_table_privilege('public.signals', 'insert') and has_table_privilege('public.signals', 'update') as may_store
