-- Number of ticks of each frame in a range. Parameters: first_ts, last_ts timestamptz, both inclusive.
-- Columns: seq int8, received_us int8 (epoch microseconds), ticks int8, instruments int8. A frame is identified by seq
-- and receive time, because two collectors may use the same seq. Expect: a scan of the range.
-- In binary, because a market day has a million frames.
-- Includes ticks that wait for their own transaction.
copy (
    select
        seq,
        (extract(epoch from received_at) * 1000000)::int8 as received_us,
        count(*) as ticks,
        count(distinct instrument_id) as instruments
    from (
        select seq, received_at, instrument_id from ticks where ts between %(first_ts)s and %(last_ts)s
        union all
        select seq, received_at, instrument_id from tickline.late_ticks where ts between %(first_ts)s and %(last_ts)s
    ) as committed
    group by seq, received_at
) to stdout (format binary)
