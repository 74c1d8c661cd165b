-- Stored bars are visible on this engine, so there is nothing to do.
create procedure tickline.show_kept_bars()
language sql
begin atomic
end;
