"""Where a job's material comes from: history, sessions, files, or what was learnt before."""
