"""The ``workflow`` stage: the models that run in environments of their own, beforehand.

``jobs`` cuts them out of the graph, ``prediction_files`` says what their files give to the rest, ``generating`` writes
the Snakemake workflow that makes the files, and ``running`` runs it. Nothing here schedules: Snakemake does.
"""
