"""How it is run: the command line, embedded services, the supervisor, settings, and wiring, the one composition root."""
