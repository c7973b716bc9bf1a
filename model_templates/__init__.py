"""Jinja templates of everything that is generated, one folder for each kind.

The folder is installed as ``keras_stitch.model_templates``; without this file an editable install would not find it.
"""
