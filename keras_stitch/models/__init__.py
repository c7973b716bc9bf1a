"""Keras models and layers: opened, cloned, looked at, merged, built and saved.

``keras_file`` opens a file: by Keras alone where it needs nothing, else repaired (``keras_stitch.repairs``).
``load_keras`` makes a ``Submodel`` (plain data) and a ``Blueprint`` (makes a fresh Keras object for every build) of
it. ``build`` makes the stitched model: each submodel becomes a functional model of the user's name, made from the
saved model's own tensors. ``merge_layers`` adds only layers that ``.h5`` can hold. Keras masks are dropped at borders,
except where a connection passes them on (``mask_passage``).

``custom_objects``: a Python file is loaded alone, under a module name of its own that is not in ``sys.modules``, as
Kipoi does it. So two files called ``layers.py`` do not meet. Keras has one registry of names, which it asks before
the objects that it is given: while a submodel is loaded, its own objects are in it (``in_registry``).
"""
