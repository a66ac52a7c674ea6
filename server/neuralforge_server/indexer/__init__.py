"""The process that keeps the indexes of a workspace up to date."""
