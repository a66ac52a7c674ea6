"""What serving and training share: homes, bases, FIM, adapters, stacks. Imports no torch."""
