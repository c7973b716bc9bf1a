"""Models by address: ``hf://``, ``https://`` and ``doi:`` to files of this machine, and a directory to the Hub.

``parse_address`` says what an address names, ``fetch_model`` brings it here: ``hub_files`` and ``hub_repositories`` by
``huggingface_hub``, ``web_files`` and ``resumed_download`` by ``pooch``. What comes is a path, and is read like any
other; nothing in it is asked for more addresses. ``push_directory`` goes the other way. Both packages are imported only
when they are needed.
"""
