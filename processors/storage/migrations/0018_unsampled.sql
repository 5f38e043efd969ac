-- Columns by whose values nothing is searched. ANALYZE reads, compares and sorts samples of each column: these took two
-- thirds of its time, and a new installation is analysed again and again as it grows.
alter table events alter properties set statistics 0, alter context set statistics 0;
alter table workflow_runs alter outcome set statistics 0, alter changes set statistics 0;
alter table profile_traits alter traits set statistics 0, alter totals set statistics 0;
alter table sessions alter context set statistics 0;
-- No lane begins before its topic, whatever a client library makes of an answer that did not come.
alter table stage_progress add constraint stage_progress_offset check (next_offset >= 0);
