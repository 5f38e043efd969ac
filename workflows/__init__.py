"""Decisions, pure, a file each: conditions, rules, graph, engine, identity, merging, segments. State in, commands out."""
