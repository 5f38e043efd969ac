"""Decisions, pure, a file each: conditions, rules, graph, engine, identity, merging, segments."""
