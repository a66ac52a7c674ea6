"""What other files of the workspace have to say at a cursor."""
