"""The subcommands of `headwater`, by what they are for: run it, look at it, handle what failed, operate on it."""
