-- The order book of an update, kept on request: `TICKLINE_DEPTH`. One row per update with a book.
-- Arrays, because books in a row repeat most of their values: 31 bytes an update in the columnstore, against 51 with a
-- column for each value and 70 with a row for each level.
create table tickline.depth_template (
    ts timestamptz not null,
    instrument_id integer not null,
    seq bigint not null,
    bids double precision[] not null,
    bid_qtys bigint[] not null,
    asks double precision[] not null,
    ask_qtys bigint[] not null
);

comment on table tickline.depth_template is 'columns of depth, written once for both engines; it stays empty';
comment on column tickline.depth_template.ts is 'event time, as that of the update in ticks';
comment on column tickline.depth_template.instrument_id is 'of instruments';
comment on column tickline.depth_template.seq is 'order of arrival; ts, instrument_id and seq are those of the update in ticks';
comment on column tickline.depth_template.bids is 'bids from the best on, rupees; 5 levels, in mode full_d30 up to 30; null: a side that is empty';
comment on column tickline.depth_template.bid_qtys is 'quantities at these bids, units';
comment on column tickline.depth_template.asks is 'asks from the best on, rupees; null: a side that is empty';
comment on column tickline.depth_template.ask_qtys is 'quantities at these asks, units';
