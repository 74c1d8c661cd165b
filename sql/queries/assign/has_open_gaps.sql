-- Whether instruments of a lost collector wait for their next tick. Parameters: reason text. Columns: has_open bool.
-- Expect: one row.
select
    exists (
        select
        from feed_gaps
        where reason = %(reason)s and ended_at is null
    ) as has_open
