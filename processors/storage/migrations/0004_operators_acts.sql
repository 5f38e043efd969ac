-- A failure that is being sent again: 'sending' is noted before it is sent, so that no crash makes it forgotten, and each
-- attempt is taken once, however often it is sent.
alter table failures drop constraint failures_state_check;
alter table failures add constraint failures_state_check check (state in ('open', 'sending', 'replayed', 'dropped'));
-- What a second sending needs to be the first one again: time of receipt, hops of workflows, whether destinations hear of
-- it, and whether validate has counted it.
alter table failures add column received_at timestamptz;
alter table failures add column hops int not null default 0;
alter table failures add column quiet boolean not null default false;
alter table failures add column counted boolean not null default false;

create table taken_attempts (
    partition int not null,
    "offset" bigint not null,
    ordinal int not null,
    attempt int not null,
    primary key (partition, "offset", ordinal, attempt)
);

-- Lives of `tracks` that ended: what validate had counted of each of their partitions (numbered as in origins).
create table ended_lives (
    partition int primary key,
    first_offset bigint not null,
    next_offset bigint not null
);
