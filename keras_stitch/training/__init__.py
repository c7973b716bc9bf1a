"""Data for ``fit``: a directory's dataloader, or what it gives stored once.

``training_data`` makes a dataloader a ``keras.utils.PyDataset``. ``precompute_dataloader`` stores what a dataloader
gives, ``precompute_frozen`` what the frozen part of a model gives (``frozen_part`` finds it). Both write
``stored_rows`` through a ``row_folder``, so they can be stopped and go on. ``provenance`` says what stored rows
were made from, and what has changed.

Processes of our own read (``dataloading``): those of Keras would run the models, and would wait for ever for one
that was killed.
"""
