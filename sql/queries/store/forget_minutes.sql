-- Delete touched minutes whose bars were made, unless ticks were committed in them meanwhile.
-- Parameters: minutes timestamptz[], touched_by text[], from `touched_ranges`; made_until timestamptz, the end of the
-- refresh. The minute that contains made_until still forms, unless both its bars are below their watermarks: it stays,
-- and makes the next refresh complete its five-minute bar too.
-- A minute that a session is about to touch again is locked by it, and stays.
with unchanged as (
    select touched.minute
    from tickline.touched_minutes as touched
    inner join unnest(%(minutes)s::timestamptz[], %(touched_by)s::text[]) as made (minute, touched_by)
        on touched.minute = made.minute and touched.touched_by = made.touched_by::xid8
    where
        touched.minute < tickline.bucket_1m(%(made_until)s)
        or touched.minute < tickline.bar_watermark('bars_1m')
        and tickline.bucket_5m(touched.minute) < tickline.bar_watermark('bars_5m')
    for update of touched skip locked
)

delete from tickline.touched_minutes
using unchanged
where touched_minutes.minute = unchanged.minute
