"""From permissively licensed source code to a base: corpus, tokenizer, training, GGUF."""
