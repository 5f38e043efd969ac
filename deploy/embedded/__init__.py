"""Kafka and PostgreSQL as child processes: the real servers, from package registries, without Docker or root."""
