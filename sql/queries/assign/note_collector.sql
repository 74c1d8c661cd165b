-- Note which keys are missed if a collector is lost. Parameters: collector, source text; account jsonb; keys jsonb
-- (instrument key -> mode). Columns: collector text. Expect: one row.
insert into tickline.collectors (collector, source, account, keys)
values (%(collector)s, %(source)s, %(account)s, %(keys)s)
on conflict (collector) do update
set
    source = excluded.source,
    account = excluded.account,
    keys = excluded.keys,
    noted_at = now()
returning collector
