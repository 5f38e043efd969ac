-- A merge may be undone; then the two are kept apart, in both directions, until an operator merges them.
alter table merges add column undone_at timestamptz;
create table kept_apart (
    profile_id uuid not null,
    other_id uuid not null,
    parted_at timestamptz not null default now(),
    primary key (profile_id, other_id)
);
