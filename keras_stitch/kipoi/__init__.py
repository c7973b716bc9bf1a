"""Kipoi's format of models and dataloaders, and Kipoi itself where it is installed.

``descriptions`` is what the YAML files say, ``schema`` the same as the other packages use it. ``model_directory`` reads
a directory or a name in a zoo, ``framework`` says what runs its model, ``packed_copy`` copies a model of another
framework, ``named_files`` has the files that a description names, ``downloads`` those at URLs. ``component`` and
``dataloader`` are about dataloaders. ``run_directory`` runs a written directory. ``templates`` has the one Jinja
environment.

Kipoi is imported late, and by these alone: ``model_sources``, for its sources; ``run_kipoi`` and ``kipoi_command``,
for its run of a directory and its command; ``component``, for dataloaders that describe themselves to it.
``optional_kipoi`` says what to install where it is missing.

A git source that was never cloned is asked first (``git ls-remote``): Kipoi prints the reason of a failed clone and
goes on without it.
"""
