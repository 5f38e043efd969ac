-- Where each lane stands and what its last batch put out. Updated once a batch: kept hot by a low fill factor.
create table stage_progress (
    stage text not null,
    topic text not null,
    partition int not null,
    topic_id text not null,
    next_offset bigint not null,
    outbox bytea,
    updated_at timestamptz not null default now(),
    primary key (stage, topic, partition)
) with (fillfactor = 50);
alter table stage_progress alter column outbox set storage external;

-- What validate took in and persist made of it, a row a lane so that lanes never wait for each other.
create table source_counts (
    source text not null,
    partition int not null,
    accepted bigint not null default 0,
    primary key (source, partition)
) with (fillfactor = 50);

create table recorded_counts (
    source text not null,
    partition int not null,
    recorded bigint not null default 0,
    duplicates bigint not null default 0,
    id_reused bigint not null default 0,
    primary key (source, partition)
) with (fillfactor = 50);

-- Identity: written by identify; merged_into by merge, always one hop to a live profile.
create table profiles (
    id uuid primary key,
    created_at timestamptz not null,
    merged_into uuid
) with (fillfactor = 80);
create index profiles_merged_into on profiles (merged_into) where merged_into is not null;

create table sessions (
    source text not null,
    id text not null,
    profile_id uuid not null,
    context jsonb,
    started_at timestamptz not null,
    primary key (source, id)
);
create index sessions_profile on sessions (profile_id);

create table identifiers (
    namespace text not null,
    value text not null,
    profile_id uuid not null,
    source text not null,
    event_id text not null,
    linked_at timestamptz not null,
    primary key (namespace, value)
);
create index identifiers_profile on identifiers (profile_id);

-- Events: written by persist, once an origin. Content is absent where it must not be stored.
create table events (
    source text not null,
    id text not null,
    fingerprint bytea not null,
    origin_partition int not null,
    origin_offset bigint not null,
    origin_ordinal int not null,
    type text not null,
    profile_id uuid,
    session_id text,
    occurred_at timestamptz not null,
    received_at timestamptz not null,
    recorded_at timestamptz not null default now(),
    saved boolean not null,
    time_corrected boolean not null,
    hops int not null,
    revision bigint not null,
    reused_id text,
    properties jsonb,
    context jsonb,
    primary key (source, id)
);
create unique index events_origin on events (origin_partition, origin_offset, origin_ordinal);
create index events_profile on events (profile_id, occurred_at);

create table event_duplicates (
    origin_partition int not null,
    origin_offset bigint not null,
    origin_ordinal int not null,
    source text not null,
    id text not null,
    received_at timestamptz not null,
    primary key (origin_partition, origin_offset, origin_ordinal)
);
create index event_duplicates_id on event_duplicates (id);

create table profile_counters (
    profile_id uuid not null,
    type text not null,
    count bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    primary key (profile_id, type)
) with (fillfactor = 70);

-- Workflow runs: one an origin, for good; an event without a row here is still `received`.
create table workflow_runs (
    origin_partition int not null,
    origin_offset bigint not null,
    origin_ordinal int not null,
    source text not null,
    event_id text not null,
    ran_at timestamptz not null default now(),
    outcome jsonb not null,
    primary key (origin_partition, origin_offset, origin_ordinal)
);

create table profile_traits (
    profile_id uuid primary key,
    traits jsonb not null,
    totals jsonb not null
) with (fillfactor = 70);

-- Merging: every merge with what it joined, as it was before; conflicts that a guard stopped.
create table merges (
    id bigint generated always as identity primary key,
    survivor uuid not null,
    absorbed uuid not null,
    cause text not null,
    namespace text not null,
    event_id text not null,
    merged_at timestamptz not null default now(),
    before jsonb not null
);
create index merges_survivor on merges (survivor);
create index merges_absorbed on merges (absorbed);

create table merge_conflicts (
    profiles uuid[] not null,
    namespace text not null,
    asked_namespace text not null,
    event_id text not null,
    first_at timestamptz not null default now(),
    primary key (profiles, namespace)
);

-- Segments: membership with its origin (rows of origin `rule` are segment's, `workflow` run-workflows'), and what was
-- last said about a profile.
create table memberships (
    profile_id uuid not null,
    segment text not null,
    origin text not null check (origin in ('rule', 'workflow')),
    since timestamptz not null default now(),
    primary key (profile_id, segment, origin)
);
create index memberships_segment on memberships (segment);

create table profile_versions (
    profile_id uuid primary key,
    version bigint not null,
    merged_into uuid,
    segments text[] not null default '{}'
) with (fillfactor = 70);

-- Failures: one outcome an origin, kept for repair and replay.
create table failures (
    topic text not null,
    partition int not null,
    "offset" bigint not null,
    ordinal int not null,
    kind text not null check (kind in ('rejected', 'dead-letter')),
    stage text not null,
    source text not null,
    event_id text,
    type text,
    reasons jsonb not null,
    key bytea,
    content bytea not null,
    failed_at timestamptz not null,
    primary key (topic, partition, "offset", ordinal)
);
create index failures_source on failures (source, kind);
create index failures_event on failures (event_id) where event_id is not null;

-- Definitions: the truth about them, every version that ever was, and which are published.
create table definitions (
    revision bigint generated always as identity primary key,
    key text not null,
    body jsonb,
    changed_by text not null,
    changed_at timestamptz not null default now(),
    published boolean not null default false
);
create index definitions_key on definitions (key, revision desc);
