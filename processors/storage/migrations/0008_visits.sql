-- When a session was last heard of (to the minute), and when its visit was said to be over.
alter table sessions add column last_at timestamptz;
alter table sessions add column ended_at timestamptz;
alter table sessions set (fillfactor = 85);
