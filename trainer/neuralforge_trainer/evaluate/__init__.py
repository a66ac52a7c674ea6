"""Measuring completions: metrics, the copier baseline and the gate."""
