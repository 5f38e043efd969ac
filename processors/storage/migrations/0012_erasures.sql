-- People who were erased: when, and how much; nothing that says who they were. `files_done_at`: the archive is without them.
create table erasures (
    id bigint generated always as identity primary key,
    profile_id uuid not null,
    erased_at timestamptz not null default now(),
    profiles int not null,
    events bigint not null,
    failures bigint not null,
    files_done_at timestamptz
);

-- What must not come back: their profiles, and keyed hashes of their identifiers and sessions. Events that happened before
-- are dropped, whenever they come.
create table erased_profiles (
    profile_id uuid primary key,
    erased_at timestamptz not null
);
create table erased_keys (
    hash text primary key,
    erased_at timestamptz not null
);

-- Their events stay as places that are taken, empty.
alter table events add column erasure bigint;
create index events_erasure on events (erasure) where erasure is not null;
alter table failures add column erasure bigint;
alter table failures drop constraint failures_state_check;
alter table failures add constraint failures_state_check
    check (state in ('open', 'sending', 'replayed', 'dropped', 'erased'));
