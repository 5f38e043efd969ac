-- What operators did about a lane that stopped: Kafka's position up to which "the database went back" is known and
-- accepted, and every gap that was accepted.
alter table stage_progress add column forgiven bigint not null default 0;
-- Where the lane began: nothing below was ever its to do.
alter table stage_progress add column first_offset bigint not null default 0;

create table accepted_gaps (
    id bigint generated always as identity primary key,
    stage text not null,
    topic text not null,
    partition int not null,
    from_offset bigint not null,
    to_offset bigint not null,
    why text not null,
    accepted_by text not null,
    accepted_at timestamptz not null default now()
);

-- Failures can be sent again: `attempt` counts how often, `read_from` is the topic that the record lay in.
alter table failures add column state text not null default 'open' check (state in ('open', 'replayed', 'dropped'));
alter table failures add column attempt int not null default 0;
alter table failures add column read_from text not null default '';
alter table failures add column repaired_by text;
create index failures_open on failures (kind, failed_at desc) where state = 'open';

-- Archive replays: what was claimed by one that runs, and how far each has come.
create table replayed_payloads (
    partition int not null,
    "offset" bigint not null,
    ordinal int not null,
    primary key (partition, "offset", ordinal)
);

create table replays (
    id text primary key,
    description text not null,
    positions jsonb not null default '{}',
    sent bigint not null default 0,
    started_by text not null,
    started_at timestamptz not null default now(),
    finished_at timestamptz
);

-- What each lane met since it was first started: for status and metrics, nothing depends on it.
create table lane_health (
    stage text not null,
    topic text not null,
    partition int not null,
    redelivered bigint not null default 0,
    fenced bigint not null default 0,
    retries jsonb not null default '{}',
    stopped text,
    primary key (stage, topic, partition)
) with (fillfactor = 50);
