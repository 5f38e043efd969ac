-- What people agreed to. Written by identify; merge moves them to the survivor, where the stricter wins.
create table consents (
    profile_id uuid not null,
    consent text not null,
    granted boolean not null,
    at timestamptz not null,
    event_id text not null,
    primary key (profile_id, consent)
);

-- Events that were dropped by policy: their one outcome, without anything that they held.
create table dropped_events (
    origin_partition int not null,
    origin_offset bigint not null,
    origin_ordinal int not null,
    source text not null,
    reason text not null,
    dropped_at timestamptz not null default now(),
    primary key (origin_partition, origin_offset, origin_ordinal)
);

create table dropped_counts (
    source text not null,
    partition int not null,
    dropped bigint not null default 0,
    primary key (source, partition)
) with (fillfactor = 50);
