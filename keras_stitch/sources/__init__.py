"""Whatever ``Graph.add`` takes: a file, a model or layer in memory, a Kipoi directory, an estimator, a module.

``load_source`` has the table of kinds. A model of another framework in memory becomes a Kipoi directory at once
(``estimators``, ``torch_modules``), and is loaded from there once more and compared (``snapshots``). So there is
one way to run, copy and check it, and later changes of the object do not matter. A Kipoi directory with links to an
ONNX file does the same for that (``onnx_models``); ``onnx_ports`` says which of its inputs and outputs can be ports.
``probing`` runs such a model once on random rows, as Kipoi's schemas have no dtypes.

Ports of Kipoi models have the names of the schema: by name where the schema is a dict and there are several, by
position otherwise.
"""
