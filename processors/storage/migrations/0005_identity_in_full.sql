-- The identity graph: `linked_at` is when an identifier was first seen, `last_seen` when last (to the hour), and whether
-- whoever showed it had ever checked who it is. Seen again it is updated in place.
alter table identifiers add column last_seen timestamptz;
alter table identifiers add column verified boolean not null default false;
alter table identifiers set (fillfactor = 85);

-- Why a merge was refused: profiles that differ in a unique namespace, that both are identified already, that are too many.
alter table merge_conflicts add column reason text not null default 'unique';

-- Identifiers that were not linked to whom they were shown for, and why.
create table refused_identifiers (
    namespace text not null,
    value text not null,
    profile_id uuid not null,
    reason text not null,
    source text not null,
    event_id text not null,
    first_at timestamptz not null,
    primary key (namespace, value, profile_id)
);
