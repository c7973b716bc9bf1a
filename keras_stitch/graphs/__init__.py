"""A graph as plain data: what the user said, and what it means once every name and shape is known. No Keras."""
