"""Predicts with the model in this folder: ``python predict.py --help``. Neither Kipoi nor keras_stitch is needed."""

import sys
from pathlib import Path

from merging.command_line import main

if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent))
