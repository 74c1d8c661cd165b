comment on table public.depth is 'order books, one row per update that brought one; kept on request';
