-- Wait until no session makes bars, then keep others from it until this session ends. No parameters.
-- Two refreshes at once fail on each other.
select pg_advisory_lock(hashtextextended('tickline.refresh_bars', 0))
