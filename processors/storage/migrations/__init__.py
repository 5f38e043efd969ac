"""Numbered plain-SQL migrations. Expand first, contract in a later one; never edit one that has been released."""
