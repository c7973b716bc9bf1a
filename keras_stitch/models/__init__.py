"""Keras models and layers: loaded, looked at, copied, merged, built and saved."""
