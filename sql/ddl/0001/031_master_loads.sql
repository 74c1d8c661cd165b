-- When the vendor's instrument master was loaded, and from where.
create table tickline.master_loads (
    loaded_at timestamptz not null default now(),
    source text not null,
    rows integer not null,
    constraint master_loads_pkey primary key (source, loaded_at)
);
