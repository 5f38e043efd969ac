-- People who were erased: when, and how much; nothing that says who they were. No profiles: the request came too late.
create table erasures (
    id bigint generated always as identity primary key,
    request text not null unique,
    profile_id uuid not null,
    erased_at timestamptz not null default clock_timestamp(),
    profiles int not null,
    events bigint not null
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

-- Places in `tracks` that held something of them (ordinal -1: the payload as a whole), until the archive is without it.
create table erased_places (
    partition int not null,
    "offset" bigint not null,
    ordinal int not null,
    is_archive_clean boolean not null default false,
    primary key (partition, "offset", ordinal)
);
create index erased_places_due on erased_places (partition, "offset") where not is_archive_clean;

-- Their failures stay as places that are taken, empty.
alter table failures drop constraint failures_state_check;
alter table failures add constraint failures_state_check
    check (state in ('open', 'sending', 'replayed', 'dropped', 'erased'));
