-- Levels of the order books of instruments, unordered. Expect: 5 rows for each update with a book.
-- Parameters: instrument_ids int4[]; start, end timestamptz, half-open, of ts ('-infinity', 'infinity').
-- Columns: ts, instrument_id, seq; level int2, 1: the best; bid, ask (rupees), bid_qty, ask_qty (units), null: a side
-- that is empty.
-- Example: instrument_ids => '{1,2}', start => '2025-12-15 03:45+00', end => '2025-12-15 10:00+00'
select
    depth.ts,
    depth.instrument_id,
    depth.seq,
    levels.level::int2 as level,
    levels.bid,
    levels.bid_qty,
    levels.ask,
    levels.ask_qty
from depth
cross join lateral unnest(depth.bids, depth.bid_qtys, depth.asks, depth.ask_qtys)
    with ordinality as levels (bid, bid_qty, ask, ask_qty, level)
where
    depth.instrument_id = any(%(instrument_ids)s::int4[])
    and depth.ts >= %(start)s
    and depth.ts < %(end)s
    and (levels.bid is not null or levels.ask is not null)
