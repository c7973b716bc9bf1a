"""The demo: saved models to a trained, tested Kipoi directory, offline and in about a minute."""

from keras_stitch.demo.run_demo import run_demo

__all__ = ["run_demo"]
