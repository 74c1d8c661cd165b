-- What a collector has added to side tables today (market-local).
-- Parameters: collector text. Columns: relation text, kept int8, kept_bytes int8. Expect: two rows at most.
select
    relation,
    kept,
    kept_bytes
from tickline.side_rows
where
    collector = %(collector)s
    and day = (now() at time zone 'Asia/Kolkata')::date
