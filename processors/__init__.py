"""The running pipeline: the map (topology), steps, the runner, storage, connectors."""
