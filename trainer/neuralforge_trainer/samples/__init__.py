"""From histories and sessions to training samples."""
