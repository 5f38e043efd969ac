"""What each path does with a request: a module for each family of clients."""
