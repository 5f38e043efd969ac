-- Who looks for an event by the id that it came with. There are few of these.
create index events_reused on events (reused_id) where reused_id is not null;
