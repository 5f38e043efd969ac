"""Actions: what workflow nodes do, a file each. Users' packages add theirs by the entry point `headwater.actions`."""
