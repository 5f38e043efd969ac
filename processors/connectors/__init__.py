"""How deliveries and raw payloads reach the outside: webhooks, archive files."""
