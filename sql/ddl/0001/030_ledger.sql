-- Committed batches, each a range of a journal segment: the ledger row and its ticks are one transaction.
create table tickline.ledger (
    batch_id bigint generated always as identity,
    collector text not null,
    segment text not null,
    offset_start bigint not null,
    offset_end bigint not null,
    first_seq bigint,
    last_seq bigint,
    frames integer not null,
    ticks integer not null,
    rejected integer not null default 0,
    quarantined integer not null default 0,
    duplicates integer not null default 0,
    first_ts timestamptz,
    last_ts timestamptz,
    digest text,
    written_at timestamptz not null default now(),
    constraint ledger_pkey primary key (batch_id),
    constraint ledger_segment_offset_key unique (collector, segment, offset_start),
    constraint ledger_offsets_check check (offset_start >= 0 and offset_end >= offset_start)
);

-- Position and state from which a stream of a collector resumes after a restart.
create table tickline.checkpoints (
    collector text not null,
    stream text not null,
    segment text not null,
    end_offset bigint not null,
    state bytea,
    written_at timestamptz not null default now(),
    constraint checkpoints_pkey primary key (collector, stream)
);

-- Updates that were not stored, with the reason.
create table tickline.rejected_ticks (
    rejected_id bigint generated always as identity,
    collector text not null,
    segment text not null,
    end_offset bigint not null,
    seq bigint,
    instrument_id integer,
    tick jsonb not null,
    sqlstate text,
    reason text not null,
    rejected_at timestamptz not null default now(),
    constraint rejected_ticks_pkey primary key (rejected_id)
);

-- Frames that do not parse, unchanged.
create table tickline.quarantined_frames (
    collector text not null,
    segment text not null,
    end_offset bigint not null,
    seq bigint,
    received_at timestamptz not null,
    reason text not null,
    payload bytea not null,
    quarantined_at timestamptz not null default now(),
    constraint quarantined_frames_pkey primary key (collector, segment, end_offset)
);

-- Instruments with at least one tick; `latest_ticks` goes through them.
create table tickline.active_instruments (
    instrument_id integer not null,
    first_seen timestamptz not null default now(),
    constraint active_instruments_pkey primary key (instrument_id)
);
