-- What workflows sent to destinations, said by segment: a job that is repeated must not say it again in other words.
create table said_sends (
    id uuid primary key
);
