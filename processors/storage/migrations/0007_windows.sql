-- How often each profile sent an event type on each day (UTC), for the event types that windows count. Written by persist
-- for the types named here; whoever adds a type counts what is recorded already.
create table windowed_types (
    type text primary key,
    days int not null
);

create table profile_days (
    profile_id uuid not null,
    type text not null,
    day date not null,
    count bigint not null,
    primary key (profile_id, type, day)
) with (fillfactor = 70);
create index profile_days_day on profile_days (day);

-- When a profile's segments have to be looked at again though nothing happens: a day leaves a window, a consent ends.
create table segment_timers (
    profile_id uuid primary key,
    due_at timestamptz not null
);
create index segment_timers_due on segment_timers (due_at);

-- Segments evaluated anew for all profiles: how far.
create table backfills (
    revision bigint primary key,
    position uuid,
    profiles bigint not null default 0,
    started_at timestamptz not null default now(),
    finished_at timestamptz
);
