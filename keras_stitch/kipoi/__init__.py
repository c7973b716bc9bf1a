"""Kipoi's models and dataloaders: read, copied and run."""
