"""The demo: saved models to a trained, tested Kipoi directory, offline and in about a minute."""
