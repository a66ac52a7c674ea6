"""What runs while the user types: the language server, its engine process and the session log."""
