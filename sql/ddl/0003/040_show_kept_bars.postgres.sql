-- Bars that are kept are visible: there is nothing to do on this engine.
create procedure tickline.show_kept_bars()
language sql
begin atomic
end;
