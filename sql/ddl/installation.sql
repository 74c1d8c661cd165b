-- What this database was made for. Run before the first revision; safe to repeat.
create schema if not exists tickline;

create table if not exists tickline.installation (
    only_row boolean not null default true,
    engine text not null,
    created_at timestamptz not null default now(),
    constraint installation_pkey primary key (only_row),
    constraint installation_only_row_check check (only_row),
    constraint installation_engine_check check (engine in ('timescale', 'postgres'))
);
