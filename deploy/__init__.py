"""How it is run: command line, embedded services, supervisor, settings, and wiring, the one composition root."""
