"""Data for ``model.fit``, and what is computed once instead of in every epoch.

``data`` makes a directory's dataloader what Keras takes, with processes that read (``workers``). ``precomputing``
stores what a dataloader gives in a file (``features``), ``rest`` what the frozen part of a stitched model gives.
"""
