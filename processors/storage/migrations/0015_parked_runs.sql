-- Runs that wait: for a time, another event of their profile, or an answer from outside. One a workflow and origin.
create table parked_runs (
    origin_partition int not null,
    origin_offset bigint not null,
    origin_ordinal int not null,
    workflow text not null,
    -- Whose it was when it was parked; merged since, it is the survivor's.
    profile_id uuid,
    -- Which version of the workflow it goes on with.
    version text not null,
    -- The event, and where the run stands (JSON).
    event bytea not null,
    state bytea not null,
    -- When time goes on with it (whoever runs it is told, and told again later); null: it does not.
    due_at timestamptz,
    -- The event types that it waits for.
    awaits text[],
    parked_at timestamptz not null default now(),
    primary key (origin_partition, origin_offset, origin_ordinal, workflow)
);
create index parked_runs_due on parked_runs (due_at) where due_at is not null;
create index parked_runs_awaiting on parked_runs (profile_id) where awaits is not null;
create index parked_runs_profile on parked_runs (profile_id);

-- What runs that wait have asked of the outside; deleted when they have the answer.
create table outside_calls (
    -- Stable: what the other side is told.
    id text primary key,
    origin_partition int not null,
    origin_offset bigint not null,
    origin_ordinal int not null,
    workflow text not null,
    node text not null,
    -- Whom it asks; '' is ourselves.
    resource text not null,
    call bytea not null,
    tries int not null default 0,
    due_at timestamptz not null default now(),
    foreign key (origin_partition, origin_offset, origin_ordinal, workflow) references parked_runs on delete cascade
);
create index outside_calls_due on outside_calls (resource, due_at);
create index outside_calls_run on outside_calls (origin_partition, origin_offset, origin_ordinal, workflow);

-- Workflows as they were when a run that waits began.
create table workflow_versions (
    version text primary key,
    definition jsonb not null,
    -- The event types that its runs may wait for.
    awaits text[] not null
);

-- What runs decided after they had waited, as workflow_runs.changes: they have times of their own.
create table run_parts (
    origin_partition int not null,
    origin_offset bigint not null,
    origin_ordinal int not null,
    ran_at timestamptz not null default now(),
    -- The time that its changes have.
    at timestamptz not null,
    place int not null,
    changes jsonb not null
);
create index run_parts_origin on run_parts (origin_partition, origin_offset, origin_ordinal);

-- Every part of every run.
create view run_changes as
    select origin_partition, origin_offset, origin_ordinal, ran_at, null::timestamptz as at, place, changes
    from workflow_runs
    union all
    select origin_partition, origin_offset, origin_ordinal, ran_at, at, place, changes from run_parts;
