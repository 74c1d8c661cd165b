-- Wait until no session makes bars, then keep all from it until this session ends. No parameters.
-- An aggregate's watermark is read outside of a reader's snapshot, so a refresh in between would hide bars.
select pg_advisory_lock_shared(hashtextextended('tickline.refresh_bars', 0))
