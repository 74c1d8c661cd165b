-- The bars of a day whose ticks are dropped are final: see tickline.keep_final_bars.
do $$
declare
    stored_in text;
begin
    for stored_in in
        select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
        from timescaledb_information.continuous_aggregates
        where view_schema = 'public' and view_name in ('bars_1m', 'bars_5m')
    loop
        execute format(
            'create trigger final_bars before insert or update or delete on %s '
            'for each row execute function tickline.keep_final_bars()',
            stored_in
        );
    end loop;
end
$$;
