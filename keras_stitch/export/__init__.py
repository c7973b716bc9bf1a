"""A stitched model for programs without Keras: ONNX and SavedModel."""
