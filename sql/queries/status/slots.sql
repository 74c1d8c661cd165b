-- Replication slots of this server. A slot that nobody reads keeps the log for ever and fills the disk.
-- Columns: name, kind text: physical or logical; active bool; wal text: reserved, extended, unreserved or lost;
-- kept_bytes int8: log that the slot keeps, null: none. Rows: one per slot.
select
    slot_name::text as name,
    slot_type as kind,
    active,
    wal_status as wal,
    pg_wal_lsn_diff(
        case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
        restart_lsn
    )::bigint as kept_bytes
from pg_replication_slots
order by slot_name
