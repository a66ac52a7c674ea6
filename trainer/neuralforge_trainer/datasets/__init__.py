"""The dataset commands: create, extract and analyze files of samples."""
