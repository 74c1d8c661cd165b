-- Columns of a tick, written once: both engines create `ticks` like this table, which stays empty.
create table tickline.tick_template (
    ts timestamptz not null,
    instrument_id integer not null,
    seq bigint not null,
    traded boolean not null,
    ltp double precision,
    ltq bigint,
    ltt timestamptz,
    vtt bigint,
    volume bigint,
    oi bigint,
    atp double precision,
    tbq double precision,
    tsq double precision,
    bid double precision,
    bid_qty bigint,
    ask double precision,
    ask_qty bigint,
    iv double precision,
    delta double precision,
    gamma double precision,
    theta double precision,
    vega double precision,
    rho double precision,
    day_open double precision,
    day_high double precision,
    day_low double precision,
    prev_close double precision,
    received_at timestamptz not null
);

comment on column tickline.tick_template.ts is 'event time: of the trade where there is one, else the exchange''s clock of the frame';
comment on column tickline.tick_template.instrument_id is 'of instruments';
comment on column tickline.tick_template.seq is 'order of arrival, breaks ties of ts';
comment on column tickline.tick_template.traded is 'the update reports a trade, not only a quote';
comment on column tickline.tick_template.ltp is 'last traded price, rupees';
comment on column tickline.tick_template.ltq is 'last traded quantity, units';
comment on column tickline.tick_template.ltt is 'last trade time, exchange';
comment on column tickline.tick_template.vtt is 'volume traded today, units';
comment on column tickline.tick_template.volume is 'units traded since the instrument''s previous update; 0: no trade; null: cannot be known';
comment on column tickline.tick_template.oi is 'open interest, units';
comment on column tickline.tick_template.atp is 'average traded price of the day, rupees';
comment on column tickline.tick_template.tbq is 'total buy quantity in the book, units';
comment on column tickline.tick_template.tsq is 'total sell quantity in the book, units';
comment on column tickline.tick_template.bid is 'best bid, rupees';
comment on column tickline.tick_template.bid_qty is 'quantity at the best bid, units';
comment on column tickline.tick_template.ask is 'best ask, rupees';
comment on column tickline.tick_template.ask_qty is 'quantity at the best ask, units';
comment on column tickline.tick_template.iv is 'implied volatility, as the vendor sends it; options only';
comment on column tickline.tick_template.delta is 'options only';
comment on column tickline.tick_template.gamma is 'options only';
comment on column tickline.tick_template.theta is 'options only';
comment on column tickline.tick_template.vega is 'options only';
comment on column tickline.tick_template.rho is 'options only';
comment on column tickline.tick_template.day_open is 'rupees';
comment on column tickline.tick_template.day_high is 'rupees';
comment on column tickline.tick_template.day_low is 'rupees';
comment on column tickline.tick_template.prev_close is 'close of the previous day, rupees';
comment on column tickline.tick_template.received_at is 'when it reached us, our clock';
