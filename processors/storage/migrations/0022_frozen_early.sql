-- Rows of which hardly any is ever changed are frozen by the first vacuum that sees them, so no other one looks at their
-- pages again. From PostgreSQL 18 on, the next one then comes after so many new rows, not after a fifth of the table: while
-- their pages are still in its buffers, at a thirtieth of the cost. (Before 18 it is still a fifth, and where an old snapshot
-- keeps rows from being frozen, a fifth of those.) They are analysed when they have grown by half, not by a tenth: nobody
-- searches them but by index.
alter table events set (autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_threshold = 20000,
    autovacuum_analyze_scale_factor = 0.5);
alter table event_duplicates set (autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_threshold = 20000,
    autovacuum_analyze_scale_factor = 0.5);
alter table workflow_runs set (autovacuum_freeze_min_age = 0, autovacuum_vacuum_insert_threshold = 20000,
    autovacuum_analyze_scale_factor = 0.5);
