-- Where this server is in replication, as any login may see it.
-- Columns: system text: the same on a primary and all its copies; is_standby bool; is_receiving bool: a connection to
-- the primary is open, false on a primary; is_paused bool: replay was paused by hand; received int8, replayed int8:
-- how far the log was received and replayed, bytes since its beginning, null: not at all; on a primary both are the end
-- of what is safely on its disk, as only that is sent; replay_age_s float8: seconds since the newest replayed commit was
-- made, by both servers' clocks, null: of a primary, or none was replayed since the start. Expect: one row.
with positions as (
    select
        pg_is_in_recovery() as is_standby,
        case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end as received,
        case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end as replayed
)

select
    control.system_identifier::text as system,
    positions.is_standby,
    exists (select from pg_stat_wal_receiver) as is_receiving,
    case when positions.is_standby then pg_is_wal_replay_paused() else false end as is_paused,
    pg_wal_lsn_diff(positions.received, '0/0')::bigint as received,
    pg_wal_lsn_diff(positions.replayed, '0/0')::bigint as replayed,
    extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp())::float8 as replay_age_s
from positions
cross join pg_control_system() as control
