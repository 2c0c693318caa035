"""Talking to the platform: connections, waiting for operations, errors as the server sent them."""
