-- Ticks that are committed and wait for a transaction of their own, a moment later: rows far behind the
-- others of their batch. TimescaleDB remembers one range of time for each transaction, from its oldest row to
-- its newest, and makes all bars in it anew.
create table tickline.late_ticks (like tickline.tick_template);

comment on table tickline.late_ticks is 'committed, and moved to ticks in a transaction of their own';
