-- Record that an instrument was not received for a time, and the volume that this hid.
-- Parameters: collector, connection, reason text; instrument_id int4; started_at, ended_at timestamptz; volume int8.
insert into feed_gaps (collector, connection, instrument_id, started_at, ended_at, reason, volume)
values (
    %(collector)s, %(connection)s, %(instrument_id)s, %(started_at)s, %(ended_at)s, %(reason)s, %(volume)s
)
