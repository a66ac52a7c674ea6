"""The engine: llama.cpp in a child process, and the client that talks to it."""
