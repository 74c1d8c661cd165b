"""Commands that record: login, universe, live feed, replay, backfill."""
