-- Traits that workflows merge by, whose values everybody who is known has claimed.
create table claimed_traits (
    trait text primary key,
    claimed_at timestamptz not null default now()
);
