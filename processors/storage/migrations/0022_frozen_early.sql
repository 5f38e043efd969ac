-- Rows that hardly ever change are vacuumed, and frozen for good, while their pages are still in PostgreSQL's buffers: by
-- default a fifth of the table would be read again, logged and written again, at thirty times the cost a page, and once
-- more when transaction ids run out. Their statistics stay as they are while they grow.
alter table events set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
    autovacuum_freeze_min_age = 0, autovacuum_analyze_scale_factor = 0.5);
alter table event_duplicates set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
    autovacuum_freeze_min_age = 0, autovacuum_analyze_scale_factor = 0.5);
alter table workflow_runs set (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
    autovacuum_freeze_min_age = 0, autovacuum_analyze_scale_factor = 0.5);
