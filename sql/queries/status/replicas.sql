-- Connections that receive this server's write-ahead log. Only pg_monitor and superusers see more than the name.
-- Columns: name text; address text, null: a socket; state, sync text; lag_bytes int8: log that it has not replayed;
-- lag_s float8: seconds from a commit to its replay, null: idle, or not visible. Rows: one per replica.
select
    application_name as name,
    host(client_addr) as address,
    state,
    sync_state as sync,
    pg_wal_lsn_diff(
        case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
        replay_lsn
    )::bigint as lag_bytes,
    extract(epoch from replay_lag)::float8 as lag_s
from pg_stat_replication
order by application_name, client_addr
