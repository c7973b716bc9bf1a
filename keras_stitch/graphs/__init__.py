"""A graph as plain data: what the user said, and what it means once every name and shape is known.

``spec`` has the dataclasses. ``GraphSpec`` is what the user said. ``wiring.wire`` makes a ``Wiring`` of it: every
name resolved (``lookup``), every shape known (``shapes``, ``merges``), all problems reported at once, each with
what to type (``fixes``). ``subgraph`` cuts some submodels out as a graph of their own. ``read_stitch_yaml`` and
``write_stitch_yaml`` go back and forth between a graph and its file.

Nothing here imports Keras. ``wire`` asks for one thing through ``wiring.Inference``: what a layer makes of a shape.
"""
