"""The fast memory: an index of the user's own token sequences, kept on disk, read while typing."""
