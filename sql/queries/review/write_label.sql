-- Say what an event is; a label of the same instrument and minute is replaced. Expect: one row.
-- Parameters: instrument_id int4; bucket timestamptz; verdict text (right, wrong, missed); note text, null: none.
-- Columns: former text, the verdict that it replaces, null: there was none.
with former as (
    select verdict
    from labels
    where instrument_id = %(instrument_id)s and bucket = %(bucket)s
)

insert into labels (instrument_id, bucket, verdict, note)
values (%(instrument_id)s, %(bucket)s, %(verdict)s, %(note)s)
on conflict (instrument_id, bucket) do update
set verdict = excluded.verdict,
    note = excluded.note,
    labelled_at = excluded.labelled_at,
    labelled_by = excluded.labelled_by
returning (select former.verdict from former) as former
