"""Kipoi directories: reading them, and writing one for a stitched model.

``write_directory`` merges (``merging``) what the dataloaders of the parts say (``components``, ``describing``) into
one, generates it (``generating``), puts metadata and schemas together (``metadata``, ``schema``), runs the whole
through Kipoi on examples (``examples``, ``running``) and puts it in place (``directory``).
"""

from keras_stitch.kipoi.dataloaders import Dataloader
from keras_stitch.kipoi.directory import write_directory
from keras_stitch.kipoi.reading import KipoiPart, read_directory

__all__ = ["Dataloader", "KipoiPart", "read_directory", "write_directory"]
