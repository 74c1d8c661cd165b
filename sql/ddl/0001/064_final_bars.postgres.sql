-- The bars of a day whose ticks are dropped are final: see tickline.keep_final_bars.
create trigger final_bars before insert or update or delete on tickline.bars_1m_stored
for each row execute function tickline.keep_final_bars();

create trigger final_bars before insert or update or delete on tickline.bars_5m_stored
for each row execute function tickline.keep_final_bars();
