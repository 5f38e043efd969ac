"""How a stage eats a batch: one runner for all stages, and the only place that knows Faust."""
