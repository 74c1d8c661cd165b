-- Remove a collector over which nothing is spread any more. Parameters: collector text. Columns: collector text.
-- Expect: one row, or none if it was not noted.
delete from tickline.collectors
where collector = %(collector)s
returning collector
