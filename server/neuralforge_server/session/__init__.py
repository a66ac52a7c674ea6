"""The session log: what was shown, what became of it, and what the user wrote instead."""
