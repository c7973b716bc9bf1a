"""``python -m keras_stitch``: the same as the command ``keras-stitch``."""

import sys

from keras_stitch.cli import main

if __name__ == "__main__":
    sys.exit(main())
