-- Committed ticks that are far behind the others of their batch, and wait for their own transaction, a moment later.
-- TimescaleDB remembers one range of time for each transaction, from its oldest row to its newest, and rebuilds all
-- bars in it.
create table tickline.late_ticks (like tickline.tick_template);

comment on table tickline.late_ticks is 'committed, and moved to ticks in a transaction of their own';
