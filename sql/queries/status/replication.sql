-- Role of this server in replication.
-- Columns: role text: primary or standby; wal_level text; wal_senders_max int4; replay_delay_s float8: how far a
-- standby is behind its primary, seconds, at most if it has no connection to it; null: of a primary, or nothing was
-- replayed yet. Expect: one row.
select
    case when pg_is_in_recovery() then 'standby' else 'primary' end as role,
    current_setting('wal_level') as wal_level,
    current_setting('max_wal_senders')::integer as wal_senders_max,
    case
        when not pg_is_in_recovery() then null
        when
            pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            and exists (select from pg_stat_wal_receiver) then 0
        else extract(epoch from now() - pg_last_xact_replay_timestamp())::float8
    end as replay_delay_s
