-- Volume of a bar whose rows are not one plain run: some are repeated, by two collectors, or the exchange's count was
-- reset between them. In order of time each row adds its volume beyond the row before; a lower count begins a new
-- run, because among trades `vtt` falls only at a reset. The arrays have one length and hold the rows that report a
-- trade: time, vtt, and the row's step of vtt.
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
