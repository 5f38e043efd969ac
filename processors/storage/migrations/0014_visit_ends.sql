-- Sessions whose source asks for an event when their visit is over, and when to look whether it is.
create table visit_timers (
    source text not null,
    session_id text not null,
    due_at timestamptz not null,
    primary key (source, session_id)
);
create index visit_timers_due on visit_timers (due_at);

-- What is kept of sessions that were forgotten: how many there were, when the first and the last of them began.
create table past_visits (
    profile_id uuid primary key,
    count bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null
);

-- When we came to know of a session, by our clock: those of old events that come now are not forgotten at once.
alter table sessions add column seen_at timestamptz not null default now();
