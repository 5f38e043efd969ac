-- Where what had failed came in again after an operator had sent it: the archive has it there too. `ordinal` -1: the payload
-- as a whole.
create table resent_places (
    partition int not null,
    "offset" bigint not null,
    ordinal int not null,
    at_partition int not null,
    at_offset bigint not null,
    primary key (partition, "offset", ordinal, at_partition, at_offset)
);
