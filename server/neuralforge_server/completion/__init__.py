"""A completion request on its way: document, prompt, generation, filter."""
