"""Kipoi's models and dataloaders: read, copied and run.

``model_directory`` reads a directory or a name in a zoo, ``framework`` says what runs its model, ``packed_copy``
copies a model of another framework, ``zoo_files`` has the files it names, ``downloads`` those at URLs. ``component``
and ``dataloader`` are about dataloaders, ``schema`` is what their YAML says, ``run_kipoi`` runs ``kipoi test`` and
predictions in this process, ``templates`` has the one Jinja environment.

A git source that was never cloned is asked first (``git ls-remote``): Kipoi prints the reason of a failed clone and
goes on without it.
"""
