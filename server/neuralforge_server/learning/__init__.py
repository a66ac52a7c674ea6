"""When the trainer runs, seen from the server."""
