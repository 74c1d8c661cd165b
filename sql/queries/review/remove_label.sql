-- Remove a label. Expect: one row, or none without a label.
-- Parameters: instrument_id int4; bucket timestamptz. Columns: verdict text.
delete from labels
where instrument_id = %(instrument_id)s and bucket = %(bucket)s
returning verdict
