-- Record when sessions open, if that is not the usual time or differs from the record.
-- Parameters, arrays of one length: segments text[]; days date[] (market-local); opens_at timestamptz[].
insert into tickline.special_sessions (segment, day, opens_at)
select
    segment,
    day,
    opens_at
from unnest(%(segments)s::text[], %(days)s::date[], %(opens_at)s::timestamptz[]) as given (segment, day, opens_at)
where opens_at <> tickline.session_open(segment, day)
on conflict (day, segment) do update set opens_at = excluded.opens_at
