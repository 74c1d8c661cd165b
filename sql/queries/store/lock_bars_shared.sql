-- Wait until nobody makes bars, and keep everybody from it until the session ends. No parameters.
-- The watermark of an aggregate is read outside of a reader's snapshot: a refresh in between would hide bars.
select pg_advisory_lock_shared(hashtextextended('tickline.refresh_bars', 0))
