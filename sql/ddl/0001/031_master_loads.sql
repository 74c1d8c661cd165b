-- Loads of the vendor's instrument master, with time and source.
create table tickline.master_loads (
    loaded_at timestamptz not null default now(),
    source text not null,
    rows integer not null,
    constraint master_loads_pkey primary key (source, loaded_at)
);
