"""``Graph``: the user's verbs over a ``GraphSpec``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from keras_stitch import arguments, building, customs, loading, parts, saving, specdump, specfile
from keras_stitch import placement as placing
from keras_stitch.arguments import MergeLike
from keras_stitch.byname import connections_by_name
from keras_stitch.certificate import Certificate
from keras_stitch.customs import Given
from keras_stitch.errors import StitchError, nearest
from keras_stitch.freezing import Flags, frozen_states
from keras_stitch.naming import check_name
from keras_stitch.progress import Step, steps
from keras_stitch.spec import Connection, GraphSpec, InputSpec, OutputSpec, Wiring
from keras_stitch.staging import Stages, stage
from keras_stitch.summary import Summary, summarise
from keras_stitch.verifying import Subject

if TYPE_CHECKING:
    from keras_stitch.kipoi.packing import Packing

PathLike = str | os.PathLike[str]


class Graph:
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
        self._spec = GraphSpec(check_name(name, "graph"))
        self._added: dict[str, parts.Added] = {}
        self._checked: tuple[GraphSpec, Wiring, Flags] | None = None

    @property
    def name(self) -> str:
        """The name of the Keras model that is built."""
        return self._spec.name

    @property
    def spec(self) -> GraphSpec:
        """What was said so far, as plain frozen data."""
        return self._spec

    def __repr__(self) -> str:
        return f"<Graph '{self.name}' of {', '.join(s.name for s in self._spec.submodels) or 'nothing yet'}>"

    # -- submodels -----------------------------------------------------------

    def add(
        self,
        name: str,
        source: PathLike | keras.Model | keras.Layer | Any,
        *,
        trainable: bool | None = None,
        custom_objects: Given = None,
        arch: PathLike | None = None,
        outputs: Sequence[str] | None = None,
        placement: str | None = None,
        shapes: Any = None,
        method: str | None = None,
    ) -> Graph:
        """Add a submodel under a name.

        Args:
            name: Letters, digits and underscores, unique in the graph.
            source: The path of a ``.h5``, ``.hdf5`` or ``.keras`` file (recognised by content) or of a Kipoi
                directory; a model of a source that Kipoi knows, ``"kipoi:DeepSEA/predict"``; a ``keras.Model``,
                which is cloned; or any ``keras.layers.Layer``. Models of other frameworks: a Kipoi directory of
                one, a fitted estimator of scikit-learn, or a ``torch.nn.Module``. Those two are copied at once: what
                is done to them later does not matter.
            trainable: ``False`` freezes it, ``True`` unfreezes it, ``None`` keeps the flags as saved.
            custom_objects: Layers and functions that Keras does not have: a dict by name, the path of a Python file
                with a dict ``OBJECTS``, a module (``"package.layers"``), a name in one (``"package.layers:Scale"``),
                or a list of those.
            arch: The architecture JSON that goes with a weights-only file.
            outputs: Inner layers whose outputs replace the model's own: a model without its head.
            placement: Where it runs.
            shapes: What an estimator or a module takes, without the batch axis: one shape, ``(7,)``; a list of shapes,
                for the arguments of ``forward``; or a dict of them by name, ``{"seq": (4, 100)}``. ``(shape, dtype)``
                stands for a shape where a module takes no floats: ``((20,), "int64")``.
            method: What an estimator is asked: ``"predict"``, ``"predict_proba"`` or ``"predict_log_proba"``; by
                default the probabilities of a classifier that has them, and ``"predict"`` of all else.

        Returns:
            The graph.

        Raises:
            SourceError: If the source cannot be used.
            NamingError: If the name is malformed or taken.
            StitchError: If an option does not go with the source.
        """
        again = f"Give this one another name, or graph.share(..., of='{name}') for the same weights once more."
        arguments.new_name(name, "submodel", self._names(), fix=again)
        placing.check_placement(placement, name)
        self._added[name] = parts.load(
            name,
            source,
            custom_objects=custom_objects,
            arch=arch,
            trainable=arguments.flag_of(trainable, f"trainable= of submodel '{name}'"),
            outputs=None if outputs is None else arguments.names(outputs, f"outputs= of submodel '{name}'"),
            placement=placement,
            shapes=shapes,
            method=method,
        )
        return self._say(submodels=(*self._spec.submodels, self._added[name].submodel))

    def share(self, name: str, of: str) -> Graph:
        """Use the submodel ``of`` once more under a new name: other inputs, the same weights. Returns the graph."""
        arguments.new_name(name, "submodel", self._names(), fix="Give this one another name.")
        if of not in self._names():
            raise StitchError(
                f"There is no submodel '{of}' that '{name}' could share.", expected=nearest(str(of), self._names())
            )
        owner = self._spec.submodel(of)
        twin = replace(owner, name=name, share=owner.share or owner.name, trainable=None)
        return self._say(submodels=(*self._spec.submodels, twin))

    # -- connections ---------------------------------------------------------

    def connect(
        self, sources: str | Sequence[str], target: str, *, merge: MergeLike = "concatenate", axis: int = -1
    ) -> Graph:
        """Connect one or more sources to an input port.

        Args:
            sources: One name or a list: output ports (``"model1"``, ``"model1.out"``), graph inputs, or input
                ports (``"model1.input1"``, the tensor that feeds it). ``"model1[0]"`` and ``"model1[0:3]"`` take
                part of the last axis, which keeps its place: ``[0]`` has size 1.
            target: A submodel with one input port, or ``"submodel.port"``.
            merge: How several sources become one: ``concatenate``, ``add``, ``average``, ``maximum``, ``minimum``,
                ``multiply``, ``subtract``, ``stack``, or a Keras layer that takes a list.
            axis: For ``concatenate`` and ``stack``, with the batch axis as 0.

        Returns:
            The graph. Names and shapes are checked by ``build``, all at once.
        """
        target = arguments.one_name(target, "connect(..., target)")
        names = arguments.names(sources, f"connect(..., '{target}')")
        connection = Connection(target, names, arguments.merge_of(merge, axis))
        return self._say(connections=(*self._spec.connections, connection))

    def connect_by_name(self) -> dict[str, list[str]]:
        """Connect every free input port whose name says what it takes, such as ``model2_model3``.

        Returns:
            What was connected: ``{"model4.model2_model3": ["model2", "model3"]}``.

        Raises:
            StitchError: If a name can be read in two ways.
        """
        found = connections_by_name(self._spec)
        self._say(connections=(*self._spec.connections, *found))
        return {connection.target: list(connection.sources) for connection in found}

    def add_input(
        self,
        name: str,
        targets: str | Sequence[str] = (),
        *,
        shape: Sequence[int | None] | None = None,
        dtype: str | None = None,
    ) -> Graph:
        """Add a graph input that feeds one or many ports.

        Args:
            name: Its name in the stitched model.
            targets: The ports it feeds; none if it is only named in connections.
            shape: Without the batch axis; taken from the ports where it is left out.
            dtype: Taken from the ports where it is left out.

        Returns:
            The graph.
        """
        taken = [given.name for given in self._spec.inputs]
        arguments.new_name(name, "graph input", taken, fix="List all its targets in one add_input.")
        names = () if targets == () else arguments.names(targets, f"add_input('{name}', ...)")
        shape, dtype = arguments.shape_of_input(name, shape), arguments.dtype_of_input(name, dtype)
        given = InputSpec(name, names, shape, dtype)
        return self._say(inputs=(*self._spec.inputs, given))

    def add_output(self, name: str, source: str) -> Graph:
        """Expose a tensor as a graph output under a name; without any, what nothing consumes is exposed.

        Returns:
            The graph.
        """
        taken = [output.name for output in self._spec.outputs]
        arguments.new_name(name, "graph output", taken, fix="Give this one another name.")
        source = arguments.one_name(source, f"add_output('{name}', ...)")
        return self._say(outputs=(*self._spec.outputs, OutputSpec(name, source)))

    # -- training ------------------------------------------------------------

    def freeze(self, *patterns: str, layers: str | None = None) -> Graph:
        """Freeze submodels, or layers in them; models built before are not touched.

        Args:
            patterns: Names of submodels, or glob patterns (``"encoder*"``).
            layers: Name, path (``"block1/conv"``) or glob pattern of the layers to freeze; all by default.

        Returns:
            The graph.
        """
        return self._say(freezes=(*self._spec.freezes, *arguments.rules("freeze", patterns, layers, frozen=True)))

    def unfreeze(self, *patterns: str, layers: str | None = None) -> Graph:
        """Restore the flags as they were saved; the arguments are those of ``freeze``."""
        return self._say(freezes=(*self._spec.freezes, *arguments.rules("unfreeze", patterns, layers, frozen=False)))

    # -- results -------------------------------------------------------------

    def build(self) -> keras.Model:
        """Build the stitched model: fresh, plain Keras, independent of other builds.

        Returns:
            A ``keras.Model`` that takes a list or a dict by name. One output is a tensor, several are a dict.

        Raises:
            WiringError: With every problem of the graph.
        """
        _, flags = self._check()
        stages = self._stages()
        if stages.final is None:
            raise StitchError(
                f"There is no Keras model to build. {stages.plan.remark}",
                fix="graph.save(...) writes a directory whose model it is.",
            )
        return building.build(self._spec, stages.final, self._blueprints(), flags)

    def plan(self) -> placing.Plan:
        """Where each submodel runs, and why; ``print`` shows a table.

        Raises:
            WiringError: With every problem of the graph.
            StitchError: If ``placement=`` asks for a later stage than a submodel can be in.
        """
        return self._stages().plan

    def summary(self) -> Summary:
        """Every submodel with its source, placement, parameters, ports and repairs; ``print`` shows a table."""
        wiring, flags = self._check()
        return summarise(self._spec, wiring, self.plan(), frozen_states(self._spec, flags))

    def plot(self, path: PathLike) -> Path:
        """Draw the graph into a file that ends in ``.svg`` or ``.png``; returns its path."""
        from keras_stitch import plotting

        return plotting.save_plot(arguments.path_of(path, "plot(...)"), **self._drawn())

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
        wiring, flags = self._check()
        places = {place.submodel: place.placement for place in self.plan()}
        frozen = frozen_states(self._spec, flags)
        return {"spec": self._spec, "wiring": wiring, "frozen": frozen, "placement": places}

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
            seed: Of the random rows.
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
            return self._subject(model, step, self._packing()).verify(data, rows=rows, seed=seed, format=format)

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
        progress: Step | None = None,
    ) -> Path:
        """Write the Kipoi directory: the stitched model, its merged dataloader, and how it was made.

        Args:
            directory: Where; the result is the whole old directory or the whole new one.
            model: A built, perhaps trained, model of this graph; by default the weights are the sources'.
            dataloaders: Graph inputs (a submodel's name stands for its free inputs) to the Kipoi dataloader that
                makes them: a path, an import path, a class or a ``ks.Dataloader``. Inputs that nobody covers are
                read from NPY, TSV, CSV or HDF5 files.
            targets: What the model should predict for the examples: an NPY, TSV, CSV or HDF5 file, or a
                ``ks.Dataloader`` of one. The dataloader then takes such a file to train on.
            info: ``authors``, ``doc``, ``license``, ``cite_as`` and so on, as Kipoi's ``info``.
            examples: Values of dataloader arguments for ``kipoi test``; files are copied.
            hosting: The URLs under which weights, expected predictions and examples will lie: one base URL, or
                a dict by path in the directory.
            format: ``"keras"`` or ``"h5"``.
            overwrite: Whether an existing directory is replaced.
            progress: Called with a few words at every step; by default they are shown on the terminal.

        Returns:
            The directory.

        Raises:
            SaveError: If it cannot be written, or the written model predicts something else than its parts.
        """
        from keras_stitch import kipoi

        target = arguments.path_of(directory, "save(...)")
        saving.check_outside(target, self._spec)
        with steps(progress) as step:
            packing = self._packing()
            subject = self._subject(model, step, packing)
            return kipoi.write_directory(
                target,
                model=subject.model,
                spec=self._spec,
                stages=subject.stages,
                packing=packing,
                dataloaders=dataloaders,
                targets=targets,
                info=info,
                examples=examples,
                hosting=hosting,
                format=format,
                overwrite=overwrite,
                picture=self._picture(),
                record=specdump.record(self._spec, trained=model is not None),
                trained=model is not None,
                parts={name: added.part for name, added in self._added.items() if added.part is not None},
                custom_objects=subject.customs,
                certify=subject.certify,
                progress=step,
            )

    # -- files ---------------------------------------------------------------

    def to_yaml(self, path: PathLike) -> Path:
        """Write the graph as a ``stitch.yaml``, with paths relative to it.

        Raises:
            StitchError: If a submodel is in memory: a file cannot hold its weights.
        """
        path = arguments.path_of(path, "to_yaml(...)")
        # Real paths on both sides: through a link, `..` leads elsewhere.
        folder = os.path.realpath(path.parent)

        def place(source: str) -> str:
            return Path(os.path.relpath(os.path.realpath(source), folder)).as_posix()

        saving.write_text(path, specdump.dump(self._spec, place=place))
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
        """
        path = arguments.path_of(path, "from_yaml(...)")
        said = specfile.read(path)
        graph, objects = cls(said.name), customs.read(custom_objects, "custom_objects= of from_yaml")
        for entry in said.models:
            if entry.share is not None:
                graph.share(entry.name, of=entry.share)
                continue
            source, options = parts.placed(entry, path.parent, objects)
            graph.add(entry.name, source, **options)
            entry.check_recorded(graph.spec.submodel(entry.name).source.sha256)
        for given in said.inputs:
            graph.add_input(given.name, given.targets, shape=given.shape, dtype=given.dtype)
        for output in said.outputs:
            graph.add_output(output.name, output.source)
        return graph._say(connections=said.connections, freezes=said.freezes)

    # -- within --------------------------------------------------------------

    def _say(self, **changes: Any) -> Graph:
        self._spec = replace(self._spec, **changes)
        return self

    def _subject(self, model: keras.Model | None, step: Step, packing: Packing | None) -> Subject:
        """What is verified and saved: a model of this graph, the given one or a fresh one, and what is packed."""
        step("checking the graph")
        wiring, flags = self._check()
        stages = self._stages()
        step("building the stitched model")
        if stages.final is None and model is not None:
            raise StitchError(f"model= has no meaning for this graph. {stages.plan.remark}")
        built = None if stages.final is None else building.build(self._spec, stages.final, self._blueprints(), flags)
        if model is not None and built is not None:
            saving.check_same_graph(model, built, self.name)
        return Subject(
            self._spec,
            wiring,
            self._blueprints(),
            stages,
            built if model is None else model,
            model is not None,
            {name: added.customs for name, added in self._added.items()},
            {name: added.part.arch for name, added in self._added.items() if added.part and added.part.arch},
            packing,
            step,
        )

    def _packing(self) -> Packing | None:
        """The models that run in the dataloader, the Keras ones among them built; nothing where there are none."""
        _, flags = self._check()
        stages = self._stages()
        if not stages.packs:
            return None
        from keras_stitch.kipoi.packing import Packing

        owners = {submodel.name: submodel.share or submodel.name for submodel in self._spec.submodels}
        parts_of = {name: self._added[owner].part for name, owner in owners.items()}
        models = building.packed_models(self._spec, stages, self._blueprints(), flags)
        return Packing(
            stages,
            models,
            {name: part for name, part in parts_of.items() if part is not None},
            {name: added.customs for name, added in self._added.items()},
            {name: str(self._spec.submodel(name).source.sha256) for name in parts_of},
        )

    def _names(self) -> list[str]:
        return [submodel.name for submodel in self._spec.submodels]

    def _blueprints(self) -> dict[str, loading.Blueprint]:
        return {name: added.blueprint for name, added in self._added.items() if added.blueprint is not None}

    def _stages(self) -> Stages:
        wiring, _ = self._check()
        return stage(self._spec, wiring)

    def _check(self) -> tuple[Wiring, Flags]:
        """The graph checked; the answer is kept until the next verb."""
        if self._checked is None or self._checked[0] is not self._spec:
            self._checked = (self._spec, *building.check(self._spec, self._blueprints()))
        return self._checked[1], self._checked[2]
