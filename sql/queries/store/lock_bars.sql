-- Wait until nobody else makes bars, and keep others from it until the session ends. No parameters.
-- Two refreshes at once fail on each other.
select pg_advisory_lock(hashtextextended('tickline.refresh_bars', 0))
