"""A stitched model for programs without Keras: ONNX and SavedModel.

Keras converts, and what it made is put right afterwards: ``Model.export`` gets a model of dicts, so that names
reach both formats; what an ONNX file lacks is added with the onnx library. The file is the proof. A converter
leaves what it does not know in the file, or changes what it does not understand; so every file is run without Keras
on rows of several counts and lengths, and compared, before anybody sees it.
"""
