"""A Keras model whose weights Kipoi has downloaded."""

import os
import shutil
import uuid

from kipoi.model import KerasModel


class SuffixedKerasModel(KerasModel):
    """A Keras model whose file may have a name without an ending.

    Kipoi names what it downloads after the md5 sum; Keras goes by the ending of the name.
    """

    def __init__(self, weights, arch=None, custom_objects=None, backend=None, image_dim_ordering=None):
        super().__init__(with_suffix(weights), arch, custom_objects, backend, image_dim_ordering)


def with_suffix(path):
    """Returns a name for the same file that ends as Keras expects, and makes it where there is none."""
    path = os.path.abspath(path)
    with open(path, "rb") as file:
        suffix = ".keras" if file.read(2) == b"PK" else ".h5"
    if path.endswith((suffix, ".hdf5")):
        return path
    # Made under a name of its own and renamed: several processes may do this at once.
    made = f"{path}.{uuid.uuid4().hex}"
    try:
        os.symlink(os.path.basename(path), made)
    except OSError:
        shutil.copyfile(path, made)
    os.replace(made, path + suffix)
    return path + suffix
