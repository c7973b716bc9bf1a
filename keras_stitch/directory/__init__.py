"""What ``Graph.save`` writes: the merged dataloader, the model with its description, examples and a model card.

``assignment`` (which dataloader feeds which input), ``argument_names`` and ``alignment`` (by what rows are compared
and found) make the plan, ``dataloader_plan`` puts it together, ``split_plan`` takes a part of it,
``dataloader_code`` writes it down. What runs is ``model_templates/kipoi/merging/``: it reads in blocks, compares
whole batches in the worker, and does not know keras_stitch. A generated ``dataloader.py`` says only what is special
about it.

``packed_models`` writes the models that run in the dataloader. They run in the process that made the dataloader,
and refuse to run in one that was forked from it: TensorFlow would hang there. Weights that would be drawn anew are
refused. ``custom_objects_file`` carries what the saved model needs: one file with ``OBJECTS`` is copied as it is,
anything else is a short generated ``custom_objects.py``.

A directory is built beside its place, run through Kipoi itself, compared with the model in memory, and then
exchanged with what was there.
"""
