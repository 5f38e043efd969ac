-- What `config` has of them is what lies there.
alter table definitions drop column published;
