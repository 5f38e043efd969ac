-- Profiles that a merge job asks to make one, until merge has answered; a row for each direction. Written by identify,
-- whose guards take both for one meanwhile; deleted by merge.
create table asked_joins (
    profile_id uuid not null,
    other_id uuid not null,
    primary key (profile_id, other_id)
);

-- A value of a namespace in which a person has at most one, when it was linked: two lanes cannot give somebody two.
alter table identifiers add column sole boolean not null default false;
create unique index identifiers_sole on identifiers (profile_id, namespace) where sole;
