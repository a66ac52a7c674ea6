"""The proof that learning helps: travels through a history, `neuralforge replay`."""
