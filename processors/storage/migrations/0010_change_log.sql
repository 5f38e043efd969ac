-- What a run decided about its profile: [what it does, field, value] each, and where it changed something what was there
-- before and after. A profile can be made anew from it. Null for runs of before it was kept.
alter table workflow_runs add column changes jsonb;
-- Which of its batch's it was: a batch's runs have one time.
alter table workflow_runs add column place int not null default 0;
