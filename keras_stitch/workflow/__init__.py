"""Models in environments of their own: a Snakemake workflow, written and run.

A job's models are packed into the dataloader of a Kipoi directory of its own (``write_workflow``). The Snakefile
and the scripts are the same in every directory; what differs is ``config.yaml``. The scripts call Kipoi's Python
interface and not ``kipoi predict``, which knows no pieces of rows, appends to a file that is there, and leaves an
unfinished one behind.

A job is known by the sha256 of all its files. Nothing in them depends on examples, authors or the final model, so
files with predictions stay good when a trained model is saved. Every row has a digest: it finds a row in another's
place. ``snakemake`` runs the workflow under a lock that ends with its holder. ``predict_directory`` predicts with a
directory of any kind.
"""
