"""Whatever Graph.add takes: a file, a model or layer in memory, a Kipoi directory, an estimator, a module."""
