-- An event of one underlying is one signal: that of its leader, with the other instruments that fired with it.
alter table public.signals
add column severity text,
add column members jsonb,
add constraint signals_severity_check check (severity in ('low', 'medium', 'high')),
add constraint signals_members_check check (jsonb_typeof(members) = 'array' and jsonb_array_length(members) > 0);

comment on column public.signals.severity is 'how much the event matters: low, medium or high; null: found by an earlier version';
comment on column public.signals.members is 'the other instruments of the same underlying that fired with it, an array of instrument_id, instrument_key, trading_symbol, bucket (UTC), direction, confidence (0 to 1) and reasons; null: none';
