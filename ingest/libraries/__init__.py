"""What libraries of others send, as payloads of ours: a module for each family of them. Pure."""
