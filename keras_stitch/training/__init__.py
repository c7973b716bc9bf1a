"""Data for ``model.fit``, and what is computed once instead of in every epoch.

``training_data`` makes a directory's dataloader what Keras takes, with processes that read (``dataloading``).
``precompute_dataloader`` stores what a dataloader gives in a file (``stored_rows``), ``precompute_frozen`` what the
frozen part of a stitched model gives.
"""
