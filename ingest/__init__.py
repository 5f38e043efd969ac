"""The door: HTTP to Kafka. No database."""
