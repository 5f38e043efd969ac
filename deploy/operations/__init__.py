"""What operators look at and do: status, metrics, what failed, replay, recover, reprocess."""
