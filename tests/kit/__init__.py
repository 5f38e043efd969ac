"""What the end-to-end and integration tests stand on: real servers, real processes, plain readers."""
