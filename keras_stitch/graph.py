"""``Graph``: what becomes of a description: a model, a plan, a picture, a certificate, a directory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from keras_stitch import checks
from keras_stitch.addresses import push_directory
from keras_stitch.assembly import Assembly, Outline, outline_of
from keras_stitch.description import Description, PathLike
from keras_stitch.errors import Downloads, StitchError
from keras_stitch.files import new_files, read_files
from keras_stitch.files.scratch import Scratch
from keras_stitch.graphs import read_stitch_yaml, write_stitch_yaml
from keras_stitch.graphs.freezing import Flags, frozen_states
from keras_stitch.graphs.mask_borders import stopped
from keras_stitch.graphs.spec import GraphSpec, Wiring
from keras_stitch.models import check_graph, save_keras
from keras_stitch.models.custom_objects import Given
from keras_stitch.placement.cut_into_stages import parts
from keras_stitch.placement.jobs import Flow, flow
from keras_stitch.placement.plan import Plan
from keras_stitch.placement.summary import Summary, summarise
from keras_stitch.sources import load_source
from keras_stitch.terminal import Step, steps
from keras_stitch.verify.certificate import Certificate

if TYPE_CHECKING:
    from keras_stitch.training.precompute_frozen import Rest


class Graph(Description):
    """A graph of saved models, described step by step and built into one Keras model.

    Args:
        name: Becomes the Keras model's name.

    Example:
        >>> import keras, keras_stitch as ks
        >>> def dense(n, units): return keras.Sequential([keras.Input((n,), name="x"), keras.layers.Dense(units)])
        >>> graph = ks.Graph("composed").add("model1", dense(3, 4)).add("model2", dense(7, 1))
        >>> graph.connect(["model1", "model1.x"], "model2").build().output_shape
        (None, 1)
    """

    def __init__(self, name: str = "stitched"):
        super().__init__(name)
        self._checked: tuple[GraphSpec, Wiring, Flags] | None = None
        self._placed: tuple[GraphSpec, Flow] | None = None
        self._outlined: tuple[GraphSpec, Outline] | None = None

    def build(self) -> keras.Model:
        """Build the stitched model: fresh, plain Keras, independent of other builds.

        Returns:
            A ``keras.Model`` that takes a list or a dict by name. One output is a tensor, several are a dict.

        Raises:
            WiringError: With every problem of the graph.
        """
        built = self._assembly().build()
        if built is None:
            raise StitchError(
                f"There is no Keras model to build. {self.plan().remark}",
                fix="graph.save(...) writes a directory whose model it is.",
            )
        self._outlined = (self._spec, outline_of(built))
        return built

    def plan(self) -> Plan:
        """Where each submodel runs, and why; ``print`` shows a table.

        Raises:
            WiringError: With every problem of the graph.
            StitchError: If ``placement=`` asks for a later stage than a submodel can be in.
        """
        return replace(self._flow().plan, notes=self._notes())

    def summary(self, *, model: keras.Model | None = None) -> Summary:
        """Every submodel with its source, placement, parameters, ports and repairs; ``print`` shows a table.

        With ``model``, a built model of this graph, the notes name what was adapted or quantised in it.
        """
        wiring, _ = self._check()
        return summarise(self._spec, wiring, self.plan(), self._frozen(), self._notes(model))

    def plot(self, path: PathLike) -> Path:
        """Draw the graph into a file that ends in ``.svg`` or ``.png``; returns its path."""
        from keras_stitch import plotting

        return plotting.save_plot(checks.path_of(path, "plot(...)"), **self._drawn())

    def _repr_svg_(self) -> str | None:
        """The picture, for notebooks; nothing while the graph cannot be built."""
        try:
            return self._picture()
        except StitchError:
            return None

    def _picture(self) -> str:
        from keras_stitch import plotting

        return plotting.draw(**self._drawn()).decode()

    def _drawn(self) -> dict[str, Any]:
        wiring, _ = self._check()
        places = {place.submodel: place.placement for place in self.plan()}
        return {"spec": self._spec, "wiring": wiring, "frozen": self._frozen(), "placement": places}

    def _frozen(self) -> dict[str, str]:
        _, flags = self._check()
        return frozen_states(self._spec, flags, self._flow().outside)

    def verify(
        self,
        data: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        model: keras.Model | None = None,
        rows: int = 10,
        seed: int = 0,
        format: str = "keras",
        progress: Step | None = None,
    ) -> Certificate:
        """Hold the stitched model against its parts run separately, before and after a reload in a fresh process.

        Args:
            data: Inputs beside the random ones: a dict by graph input, or a list in their order; each an array of
                shape ``(rows, ...)`` and a dtype that its input takes.
            model: A built, perhaps trained, model of this graph; by default one is built.
            rows: How many random rows.
            seed: The seed of the random rows.
            format: The file to load again: ``"keras"`` or ``"h5"``.
            progress: Called with a few words at every step; by default they are shown on the terminal.

        Returns:
            The certificate: ``passed`` says whether all is equal, ``print`` shows the differences.

        Raises:
            StitchError: If the graph cannot be built or ``data`` does not fit it; never for a difference.

        Example:
            >>> import keras, keras_stitch as ks
            >>> graph = ks.Graph("g").add("double", keras.layers.Rescaling(2.0)).add_input("x", "double", shape=(3,))
            >>> graph.verify().passed
            True
        """
        with steps(progress) as step:
            self._check_sources()
            subject = self._assembly().whole_subject(model, step)
            return subject.verify(data, rows=rows, seed=seed, format=format)

    def precompute(
        self,
        data: Any,
        path: PathLike,
        *,
        model: keras.Model | None = None,
        batch_size: int = 32,
        progress: Step | None = None,
    ) -> Rest:
        """Run the frozen submodels at the start of the graph once, store what they make, and train the rest on it.

        Layers that are random in training do nothing in what is stored. Whatever stops the call, the same one goes on
        where it stopped; a finished file is used again while the frozen submodels, their weights and the data are the
        same, which sha256 tells.

        Args:
            data: ``(inputs, targets)``, perhaps with sample weights: inputs are a dict by input, a list in their order
                or the array of the only one, of shape ``(rows, ...)``; the others an array, or a dict by output. Or a
                ``keras.utils.PyDataset``, such as ``ks.training_data`` gives; where it has no key, 64 of its rows
                (8 batches) stand for all.
            path: The HDF5 file to write. Folders above it are made.
            model: A built, perhaps trained, model of this graph, whose layers say what is frozen; by default one is
                built.
            batch_size: Rows that run at once.
            progress: Called with a few words at every batch; by default a bar is shown on the terminal.

        Returns:
            ``rest.model`` to train on ``rest.data()``; its layers are those of ``rest.whole``, the stitched model.

        Raises:
            StitchError: If nothing is frozen there, nothing is left to train, ``data`` do not fit, or the file holds
                rows of something else, which is not touched.
        """
        from keras_stitch.training import precompute_frozen as rest

        file = checks.path_of(path, "precompute(...)")
        with steps(progress) as step:
            subject = self._assembly().subject(model, step, packs=False)
        if subject.model is None or subject.stages.final is None:
            raise StitchError(f"There is no Keras model to train. {subject.stages.plan.remark}")
        options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
        return rest.precompute(subject.spec, subject.stages.final, subject.model, data, file, **options)

    def save(
        self,
        directory: PathLike,
        *,
        model: keras.Model | None = None,
        dataloaders: Mapping[str, Any] | None = None,
        targets: Any = None,
        info: Mapping[str, Any] | None = None,
        examples: Mapping[str, Any] | None = None,
        hosting: str | Mapping[str, str] | None = None,
        format: str = "keras",
        overwrite: bool = False,
        require_ids: bool = False,
        card: str = "kipoi",
        progress: Step | None = None,
    ) -> Path:
        """Write the Kipoi directory: the stitched model, its merged dataloader, and how it was made.

        Args:
            directory: Where; the result is the whole old directory or the whole new one.
            model: A built, perhaps trained, model of this graph; by default the weights are the sources'.
            dataloaders: Graph inputs (a submodel's name stands for its free inputs) to the Kipoi dataloader that
                makes them: a path, an import path, a class or a ``ks.Dataloader``. Inputs that nobody covers are
                read from table files.
            targets: What the model should predict for the examples: a table file, or a
                ``ks.Dataloader`` of one. The dataloader then takes such a file to train on.
            info: ``authors``, ``doc``, ``license``, ``cite_as`` and so on, as Kipoi's ``info``.
            examples: Values of dataloader arguments for ``kipoi test``; files are copied.
            hosting: The URLs under which weights, expected predictions and examples will lie: one base URL, or
                a dict by path in the directory.
            format: ``"keras"`` or ``"h5"``.
            overwrite: Whether an existing directory is replaced.
            require_ids: Whether it is an error that only the number of a row says where it belongs, for the examples
                now and for all data later. By default, the model card lists such parts, and the dataloader warns.
            card: ``"kipoi"``, or ``"huggingface"`` for a model card that the Hugging Face Hub reads, too.
            progress: Called with a few words at every step; by default they are shown on the terminal.

        Returns:
            The directory.

        Raises:
            SaveError: If it cannot be written, the written model predicts something else than its parts, or Keras does
                not run on TensorFlow.
        """
        from keras_stitch.directory.save_request import SaveOptions
        from keras_stitch.directory.write_directory import write_directory

        target = checks.path_of(directory, "save(...)")
        save_keras.check_backend(target)
        save_keras.check_outside(target, self._spec)
        with steps(progress) as step:
            self._check_sources()
            assembly, picture = self._assembly(), self._picture()
            record = write_stitch_yaml.record(self._spec, trained=model is not None)
            saved = assembly.saved_graph(model, step, picture=picture, record=record)
            options = SaveOptions(dataloaders, targets, info, examples, hosting, format, overwrite, require_ids, card)
            return write_directory(target, saved, options, step)

    def push(self, address: str, *, private: bool | None = None, message: str | None = None, **options: Any) -> str:
        """Save the directory in a temporary folder, upload it to the Hugging Face Hub, and return its address there.

        ``options`` are those of ``save``, with the Hub's model card by default; the rest is as for ``ks.push``.
        """
        target = push_directory.target_of(address)
        with Scratch() as folder:
            directory = self.save(folder / target.label, **{"card": "huggingface", **options})
            return push_directory.push(directory, address, private=private, message=message)

    # -- files ---------------------------------------------------------------

    def to_yaml(self, path: PathLike) -> Path:
        """Write the graph as a ``stitch.yaml``, with paths relative to it.

        Raises:
            StitchError: If a submodel is in memory: a file cannot hold its weights.
        """
        path = checks.path_of(path, "to_yaml(...)")
        # Real paths on both sides: through a link, `..` leads elsewhere.
        folder = os.path.realpath(path.parent)

        def place(source: str) -> str:
            return Path(os.path.relpath(os.path.realpath(source), folder)).as_posix()

        new_files.write_text(path, write_stitch_yaml.dump(self._spec, place=place))
        return path

    @classmethod
    def from_yaml(cls, path: PathLike, *, custom_objects: Given = None) -> Graph:
        """Read a graph from a ``stitch.yaml``; paths in it are relative to it.

        Args:
            path: The file.
            custom_objects: Those of all submodels, beside what the file says; as ``add`` takes them.

        Raises:
            SpecFileError: With every mistake in the file.
            SourceError: If a source cannot be used, or is not the one that was recorded.
            DownloadError: With every file of a Kipoi model that is gone.
        """
        path = checks.path_of(path, "from_yaml(...)")
        said, gone = read_stitch_yaml.read(path), Downloads()
        graph, folder = cls(said.name), path.parent
        for entry in said.models:
            with gone.collected():
                if entry.share is not None:
                    graph.share(entry.name, of=entry.share)
                    continue
                source, options = load_source.placed(entry, folder, custom_objects)
                graph.add(entry.name, source, **options)
                entry.check_recorded(graph.spec.submodel(entry.name).source.sha256)
        gone.check()
        for given in said.inputs:
            graph.add_input(given.name, given.targets, shape=given.shape, dtype=given.dtype)
        for output in said.outputs:
            graph.add_output(output.name, output.source)
        named = said.merge_objects
        found = [load_source.with_objects(one, named, folder, custom_objects) for one in said.connections]
        return graph._say(connections=tuple(found), freezes=said.freezes)

    # -- within --------------------------------------------------------------

    def _assembly(self) -> Assembly:
        """The models of every stage; what a model was built of is known until the next verb."""
        _, flags = self._check()
        outline = self._outlined[1] if self._outlined is not None and self._outlined[0] is self._spec else None
        return Assembly(self._spec, self._flow(), flags, self._added, outline)

    def _check_sources(self) -> None:
        """Raise where a file of a source has changed since it was added, or is gone."""
        for added in self._added.values():
            for path, before in added.files.items():
                read_files.check_unchanged(path, before)

    def _notes(self, model: keras.Model | None = None) -> tuple[str, ...]:
        """What there is to know about the graph, or about a model of it, in sentences."""
        return (*self._assembly().notes(model), *stopped(self._check()[0], parts(self._flow().steps)))

    def _flow(self) -> Flow:
        """What runs where; the answer is kept until the next verb."""
        wiring, _ = self._check()
        if self._placed is None or self._placed[0] is not self._spec:
            self._placed = (self._spec, flow(self._spec, wiring))
        return self._placed[1]

    def _check(self) -> tuple[Wiring, Flags]:
        """The graph checked; the answer is kept until the next verb."""
        if self._checked is None or self._checked[0] is not self._spec:
            blueprints = {name: added.blueprint for name, added in self._added.items() if added.blueprint is not None}
            self._checked = (self._spec, *check_graph.check(self._spec, blueprints))
        return self._checked[1], self._checked[2]
