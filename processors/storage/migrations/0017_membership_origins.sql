-- Memberships that a model decided: written by run-workflows, as those of origin `workflow`, and kept apart from them.
alter table memberships drop constraint memberships_origin_check;
alter table memberships add constraint memberships_origin_check check (origin in ('rule', 'workflow', 'model'));
