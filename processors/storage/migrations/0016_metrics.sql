-- Live metrics: what was counted in each window, by the lane of persist that recorded the events.
create table metric_windows (
    metric text not null,
    begins timestamptz not null,
    key text not null,
    partition int not null,
    events bigint not null,
    total numeric not null,
    primary key (metric, begins, key, partition)
);
create table metric_people (
    metric text not null,
    begins timestamptz not null,
    key text not null,
    profile_id uuid not null,
    primary key (metric, begins, key, profile_id)
);
create index metric_people_profile on metric_people (profile_id);

-- How far each alert has looked, and what it said last.
create table alert_states (
    alert text primary key,
    looked_until timestamptz not null,
    is_raised boolean not null
);
