-- Volume of a bar whose rows are not one plain run, as in revision 0003, but with one order of rows. Two collectors
-- may bring rows with the same time and the same vtt: the one that reaches back furthest comes first and the others
-- add nothing. Without this, the volume depends on the order in which the rows are read.
create or replace function tickline.counted_volume(times timestamptz[], counts bigint[], steps bigint[]) returns bigint
language sql immutable strict parallel safe
return (
    with trades as (
        select
            vtt,
            step,
            lag(vtt) over (order by ts, vtt, step desc) as vtt_before
        from unnest(times, counts, steps) as rows (ts, vtt, step)
    )

    select sum(case when vtt < vtt_before then step else least(step, vtt - vtt_before) end)::bigint
    from trades
);
