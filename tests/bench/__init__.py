"""`make bench`: how fast, and what an event costs; real parts only."""
