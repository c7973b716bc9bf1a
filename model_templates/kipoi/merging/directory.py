"""A directory with a model and its dataloader, as Kipoi has them; Kipoi itself is not needed."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .data_errors import problem
from .downloads import fetch, is_remote
from .model_loading import described, load_model
from .python_files import from_function, load_dataloader
from .workers import check_options


class Directory:
    """A directory with ``model.yaml`` and ``dataloader.yaml``.

    Args:
        folder: The directory.

    Attributes:
        folder: Its whole path.
        description: What ``dataloader.yaml`` says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        self.description = described(self.folder, "dataloader")

    @property
    def arguments(self) -> dict[str, dict[str, Any]]:
        """What is said about each argument of the dataloader: ``doc``, ``type``, ``optional``, ``example``."""
        return {str(name): dict(said or {}) for name, said in (self.description.get("args") or {}).items()}

    @property
    def needed(self) -> list[str]:
        """The arguments of the dataloader that have no default."""
        return [name for name, said in self.arguments.items() if not said.get("optional") and "default" not in said]

    @functools.cached_property
    def dataloader_class(self) -> Any:
        """The class of the dataloader, which takes the arguments."""
        defined, kind = str(self.description["defined_as"]), self.description.get("type") or "PreloadedDataset"
        file, separator, name = defined.partition("::")
        if not separator:
            stem, _, name = defined.partition(".")
            file = f"{stem}.py"
        if separator or (self.folder / file).is_file():
            return load_dataloader(self.folder / file, name, kind)
        module, _, last = defined.rpartition(".")
        found = getattr(importlib.import_module(module), last)
        return found if isinstance(found, type) else from_function(found, kind)

    def dataloader(self, **arguments: Any) -> Any:
        """Returns the dataloader; defaults that are files at URLs are downloaded."""
        return self.dataloader_class(**{**self.downloaded_defaults(), **arguments})

    def example_or(self, arguments: Mapping[str, Any] | None) -> Any:
        """Returns the dataloader for some arguments, or for those of the examples; they have to be its own."""
        if arguments is None:
            return self.dataloader(**self.example_arguments())
        if not {*self.needed} <= {*arguments} <= {*self.arguments}:
            raise problem(
                "The dataloader takes other arguments.",
                expected=", ".join(name + " (needed)" * (name in self.needed) for name in self.arguments),
                received=", ".join(arguments) or "none",
            )
        return self.dataloader(**arguments)

    def downloaded_defaults(self) -> dict[str, str]:
        """Returns where the files are that are defaults of arguments and named by URLs."""
        return self.downloaded("default", "dataloader_files")

    def example_arguments(self) -> dict[str, Any]:
        """Returns the arguments with which the dataloader gives the examples; files at URLs are downloaded."""
        examples = {name: said["example"] for name, said in self.arguments.items() if "example" in said}
        found = {name: self.absolute(value) for name, value in examples.items() if not is_remote(value)}
        return found | self.downloaded("example", "example_files")

    def downloaded(self, key: str, folder: str) -> dict[str, str]:
        """Returns where the files are that the arguments name by URLs."""
        found = {}
        for name, said in self.arguments.items():
            remote = said.get(key)
            if remote is not None and is_remote(remote):
                called = remote.get("name") or name if key == "example" else remote.get("md5") or "file"
                place = self.folder / "downloaded" / folder / Path(str(called)).name
                found[name] = fetch(remote, place, f"The {key} of '{name}'")
        return found

    def absolute(self, value: Any) -> Any:
        """Returns a value of ``dataloader.yaml``, with the whole path if it is a file of the directory."""
        if not isinstance(value, str) or not value:
            return value
        path = self.folder / value
        try:
            return str(path) if path.exists() else value
        except OSError:  # a long text is no path
            return value

    def model(self) -> Any:
        """Returns the model, which has ``predict_on_batch``."""
        return load_model(self.folder)

    def target_name(self) -> str:
        """Returns the name of the model's only output."""
        targets = described(self.folder)["schema"]["targets"]
        if isinstance(targets, list):
            targets = targets[0]
        return str(targets.get("name") or "prediction" if "shape" in targets else next(iter(targets)))

    def predictions(
        self, arguments: Mapping[str, Any] | None = None, batch_size: int = 32, num_workers: int = 0
    ) -> Iterator[dict[str, Any]]:
        """Yields the batches of the dataloader, each with ``preds``: what the model predicts for its inputs.

        Args:
            arguments: Of the dataloader; by default those of the examples.
            batch_size: Rows in a batch.
            num_workers: Processes that read.
        """
        return self.predicted(self.example_or(arguments), batch_size, num_workers)

    def predicted(self, loader: Any, batch_size: int = 32, num_workers: int = 0) -> Iterator[dict[str, Any]]:
        """Yields the batches of a dataloader of this directory, see ``predictions``."""
        model: Any = None
        for batch in loader.batch_iter(batch_size=batch_size, num_workers=num_workers):
            # Workers are forked before the first batch, when there is no model yet: TensorFlow does not survive a fork.
            model = self.model() if model is None else model
            yield {**batch, "preds": model.predict_on_batch(batch["inputs"])}

    def training_data(
        self,
        arguments: Mapping[str, Any] | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        workers: int = 0,
    ) -> Any:
        """Returns a ``keras.utils.PyDataset`` of inputs and targets; a generator where rows come in one order only."""
        from .training_rows import TrainingRows, for_fit, is_merged  # Keras takes seconds

        check_options(batch_size, workers)
        loader = self.example_or(arguments)
        loader.check_targets()
        if is_merged(loader):
            return TrainingRows(loader, batch_size=batch_size, shuffle=shuffle, seed=seed, workers=workers)
        batches = loader.batch_iter(batch_size=batch_size, shuffle=shuffle, num_workers=workers)
        return ((for_fit(batch["inputs"]), for_fit(batch["targets"])) for batch in batches)  # Keras takes a generator
