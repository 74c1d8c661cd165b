-- The volume of a bar whose rows are not one plain run: some are there twice, of two collectors, or the exchange's
-- count was reset among them. Along time each row adds what is beyond the row before; one whose count is below
-- begins a new run, for `vtt` falls among trades at a reset only. The arrays are of one length, of the rows that
-- report a trade: time, vtt, and the step of vtt that it brought.
create function tickline.counted_volume(times timestamptz[], counts bigint[], steps bigint[]) returns bigint
language sql immutable strict parallel safe
return (
    with trades as (
        select
            vtt,
            step,
            lag(vtt) over (order by ts, vtt) as vtt_before
        from unnest(times, counts, steps) as rows (ts, vtt, step)
    )

    select sum(case when vtt < vtt_before then step else least(step, vtt - vtt_before) end)::bigint
    from trades
);
