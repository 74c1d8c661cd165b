-- Let the server end this session if, before the transaction ends, its client says nothing for silent_ms: one that is
-- frozen or gone must not keep a lock. Parameters: silent_ms int4, milliseconds. Columns: silent text. Expect: one row.
select set_config('idle_in_transaction_session_timeout', %(silent_ms)s::int4::text, true) as silent
