"""The subcommands of `headwater`, by what they are for: running it, looking at it."""
