-- Count rows that a batch adds to a side table today (market-local), and those beyond the limit, in the transaction
-- that adds them. Parameters: collector, relation text; kept, kept_bytes, left_out int8.
insert into tickline.side_rows as counted (collector, relation, day, kept, kept_bytes, left_out)
values (
    %(collector)s, %(relation)s, (now() at time zone 'Asia/Kolkata')::date, %(kept)s, %(kept_bytes)s, %(left_out)s
)
on conflict (collector, relation, day) do update
set
    kept = counted.kept + excluded.kept,
    kept_bytes = counted.kept_bytes + excluded.kept_bytes,
    left_out = counted.left_out + excluded.left_out
