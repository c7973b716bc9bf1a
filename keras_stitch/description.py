"""What a user says about a graph: the verbs that describe it, over a ``GraphSpec``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import keras

from keras_stitch import checks
from keras_stitch.errors import StitchError, nearest
from keras_stitch.graphs import changes, freezing
from keras_stitch.graphs.by_name import connections_by_name
from keras_stitch.graphs.names import check_name, new_name
from keras_stitch.graphs.spec import Connection, GraphSpec, InputSpec, OutputSpec
from keras_stitch.models import merge_layers, ports
from keras_stitch.models.custom_objects import Given
from keras_stitch.models.merge_layers import MergeLike
from keras_stitch.sources import load_source
from keras_stitch.sources.added import Added

PathLike = str | os.PathLike[str]


class Description:
    """A graph as it was described so far.

    Args:
        name: Becomes the Keras model's name.
    """

    def __init__(self, name: str = "stitched"):
        self._spec = GraphSpec(check_name(name, "graph"))
        self._added: dict[str, Added] = {}

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
        saved_backend: str | None = None,
        stateless: bool = False,
        signature: str | None = None,
        sha256: str | None = None,
        md5: str | None = None,
        part: str | None = None,
        replace: Mapping[str, keras.Layer] | None = None,
    ) -> Self:
        """Add a submodel under a name.

        Args:
            name: Letters, digits and underscores, unique in the graph.
            source: The path of a ``.h5``, ``.hdf5`` or ``.keras`` file (recognised by content) or of a Kipoi
                directory; an address, ``"hf://user/repo"``, ``"hf://user/repo/file@revision"``, ``"https://..."`` or
                ``"doi:10.5281/zenodo.1/file"``; a model of a source that Kipoi knows, ``"kipoi:DeepSEA/predict"``; a
                ``keras.Model``, which is cloned; or any ``keras.layers.Layer``. Models of other frameworks: a Kipoi
                directory of one, a SavedModel of TensorFlow, an ``.onnx`` file, a fitted estimator of scikit-learn, or
                a ``torch.nn.Module``. Those in memory are copied at once: later changes do not matter.
            trainable: ``False`` freezes it, ``True`` unfreezes it, ``None`` keeps the flags as saved.
            custom_objects: Layers and functions that Keras does not have: a dict by name, the path of a Python file
                with a dict ``OBJECTS``, a module (``"package.layers"``), a name in one (``"package.layers:Scale"``),
                or a list of those.
            arch: The architecture JSON that goes with a weights-only file, or in place of the one in an ``.h5`` file.
            outputs: Inner layers whose outputs replace the model's own, or outputs of an ONNX file. Where something in
                a file cannot be loaded, such as a ``Lambda``, and these need nothing of it, it is left out.
            placement: Where it runs: ``"model"``, in the stitched model, ``"dataloader"``, before it and never trained,
                or ``"workflow"``, in an environment of its own. By default as late as possible; ``plan`` says why.
            shapes: What an estimator or a module takes, without the batch axis: one shape, ``(7,)``; a list of shapes,
                for the arguments of ``forward``; or a dict of them by name, ``{"seq": (4, 100)}``. ``(shape, dtype)``
                stands for a shape where a module takes no floats: ``((20,), "int64")``.
            method: What an estimator is asked: ``"predict"``, ``"predict_proba"`` or ``"predict_log_proba"``; by
                default the probabilities of a classifier that has them, and ``"predict"`` of all else.
            saved_backend: ``"tensorflow"`` or ``"theano"``: that of the old Keras, where a file does not say it.
            stateless: Whether stateful layers of Keras 1 or 2 become stateless, as right after ``reset_states``.
            signature: The function of a SavedModel to pack as it is; see docs/loading.md for the default.
            sha256: What a file has to have, or the weights in a directory. ``https://`` needs this or ``md5``.
            md5: The same, for a file alone.
            part: The name of a model within the model of a file, which is taken alone: ``"model_wo_bias"``.
            replace: Layers, or functional models, in place of layers of a file, by the names or paths of these:
                ``{"lambda_3": keras.layers.RepeatVector(4)}``. They bring their own weights, if they have some, and the
                file's weights of what they replace are left out.

        Returns:
            The graph.

        Raises:
            StitchError: If the source cannot be used, its hash is another one, the name is taken, or an option does
                not go with the source.
        """
        self._check_new(name)
        options: dict[str, Any] = {"custom_objects": custom_objects, "arch": arch, "outputs": outputs}
        options |= {"shapes": shapes, "method": method, "saved_backend": saved_backend, "stateless": stateless}
        options |= {"trainable": trainable, "part": part, "replace": replace, "sha256": sha256, "md5": md5}
        options |= {"signature": signature}
        self._keep(name, load_source.load_as_said(name, source, **options, placement=placement))
        return self._say(submodels=(*self._spec.submodels, self._added[name].submodel))

    def share(self, name: str, of: str) -> Self:
        """Use the submodel ``of`` once more under a new name: other inputs, the same weights. Returns the graph."""
        new_name(name, "submodel", self._names(), fix="Give this one another name.")
        if of not in self._names():
            raise StitchError(
                f"There is no submodel '{of}' that '{name}' could share.", expected=nearest(str(of), self._names())
            )
        shared = self._spec.submodel(of)
        twin = replace(shared, name=name, share=shared.owner, trainable=None)
        return self._say(submodels=(*self._spec.submodels, twin))

    def _keep(self, name: str, loaded: Added) -> None:
        self._added[name] = loaded
        loaded.warn_of_shared(name, self._added)

    # -- connections ---------------------------------------------------------

    def connect(
        self,
        sources: str | Sequence[str],
        target: str,
        *,
        merge: MergeLike = "concatenate",
        axis: int = -1,
        axes: int | Sequence[int] | None = None,
        normalize: bool = False,
        custom_objects: Given = None,
        mask: bool | None = None,
    ) -> Self:
        """Connect one or more sources to an input port.

        Args:
            sources: One name or a list: output ports (``"model1"``, ``"model1.out"``), graph inputs, or input
                ports (``"model1.input1"``, the tensor that feeds it). ``"model1[0]"`` and ``"model1[0:3]"`` take
                part of the last axis; ``"model1[:, 0:10]"`` has one index or slice for every axis beside the batch
                axis, in their order. All axes keep their places: ``[0]`` has size 1.
            target: A submodel with one input port, or ``"submodel.port"``.
            merge: How several sources become one: ``concatenate``, ``add``, ``average``, ``maximum``, ``minimum``,
                ``multiply``, ``subtract``, ``abs_difference``, ``stack``, ``dot``, or a Keras layer that takes a list,
                or its class.
            axis: For ``concatenate`` and ``stack``, with the batch axis as 0.
            axes: For ``dot``, the axis of each of the two sources that is summed over, with the batch axis as 0: one
                number for both, or a pair.
            normalize: For ``dot``, whether each source is divided by its L2 norm along that axis first, which makes
                cosines.
            custom_objects: What a merge that is a layer of one's own needs when it is loaded, as ``add`` takes it.
            mask: Whether the Keras mask of the sources is passed on, so that the target skips the steps that, say, an
                ``Embedding(mask_zero=True)`` in a source masked. By default, the masks of saved models stop, as they
                do between files, and ``summary``, ``plan`` and the certificate name the connection. A bare layer, such
                as ``Masking``, masks what follows it, unless ``mask=False`` says no. A Keras layer as ``merge`` does
                with masks what Keras does. Of a functional model that is given a mask, Keras warns when it runs that
                it drops the mask, although the layers in it heed it.

        Returns:
            The graph. Names and shapes are checked by ``build``, all at once.

        Example:
            >>> import keras, keras_stitch as ks
            >>> words = keras.Sequential([keras.Input((5,)), keras.layers.Embedding(9, 3, mask_zero=True)])
            >>> graph = ks.Graph().add("words", words).add("rnn", keras.layers.LSTM(2))
            >>> graph.connect("words", "rnn", mask=True).summary().notes
            ()
        """
        target = checks.one_name(target, "connect(..., target)")
        names = checks.names(sources, f"connect(..., '{target}')")
        options = {"axis": axis, "axes": axes, "normalize": normalize}
        passed = checks.flag_of(mask, f"mask= of connect(..., '{target}')")
        how = merge_layers.merge_of(merge, custom_objects, **options)
        connection = Connection(target, names, how, passed)
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
    ) -> Self:
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
        new_name(name, "graph input", taken, fix="List all its targets in one add_input.")
        names = () if targets == () else checks.names(targets, f"add_input('{name}', ...)")
        shape, dtype = ports.shape_of_input(name, shape), ports.dtype_of_input(name, dtype)
        given = InputSpec(name, names, shape, dtype)
        return self._say(inputs=(*self._spec.inputs, given))

    def add_output(self, name: str, source: str) -> Self:
        """Expose a tensor as a graph output under a name; without any, what nothing consumes is exposed.

        Returns:
            The graph.
        """
        taken = [output.name for output in self._spec.outputs]
        new_name(name, "graph output", taken, fix="Give this one another name.")
        source = checks.one_name(source, f"add_output('{name}', ...)")
        return self._say(outputs=(*self._spec.outputs, OutputSpec(name, source)))

    # -- changes -------------------------------------------------------------

    def disconnect(self, target: str) -> Self:
        """Take back what feeds an input port: its connection, or its place among the targets of ``add_input``.

        Args:
            target: The port, as ``connect`` takes it; a mistaken target, as it was written.

        Returns:
            The graph. A graph input that feeds nothing any more stays, to be named in a connection.

        Raises:
            StitchError: If there is no such port, or nothing was connected to it.
        """
        return self._become(changes.disconnected(self._spec, checks.one_name(target, "disconnect(...)")))

    def remove(self, name: str) -> Self:
        """Take back a submodel, a graph input or a graph output.

        With a submodel go the connections to it, the graph inputs that fed it alone, the graph outputs that showed
        it, and the freezing of exactly that name. Patterns stay. A graph input takes its place at the ports that it
        fed along. Where a graph output has the name of its submodel, the submodel is meant.

        Args:
            name: Its name.

        Returns:
            The graph.

        Raises:
            StitchError: If there is none of that name, if connections take a tensor of it, which the message lists,
                or if another submodel shares its weights.
        """
        self._become(changes.removed(self._spec, checks.one_name(name, "remove(...)")))
        self._added = {known: added for known, added in self._added.items() if known in self._names()}
        return self

    def replace(self, name: str, source: PathLike | keras.Model | keras.Layer | Any, **options: Any) -> Self:
        """Put another source in the place of a submodel, which keeps its name, its position and all its connections.

        Graph inputs, graph outputs and freezing stay as they were said, too; ``build`` checks that they fit. Submodels
        that shared the weights of the old one share those of the new one.

        Args:
            name: The submodel.
            source: As ``add`` takes it.
            options: As ``add`` takes them. Without ``placement=`` and ``trainable=``, those of the old one stay.

        Returns:
            The graph.

        Raises:
            SourceError: If the source cannot be used; the graph is then as before.
            StitchError: If there is no such submodel, or an option does not go with the source.
        """
        for option in options.keys() - (Description.add.__kwdefaults__ or {}).keys():
            raise TypeError(f"{type(self).__name__}.replace() got an unexpected keyword argument '{option}'")
        name = checks.one_name(name, "replace(...)")
        if name not in self._names():
            raise StitchError(f"There is no submodel '{name}' to replace.", expected=nearest(name, self._names()))
        old = self._spec.submodel(name)
        added = load_source.load_as_said(name, source, **{"placement": old.placement, **options})
        if added.submodel.is_keras and "trainable" not in options:
            added = replace(added, submodel=replace(added.submodel, trainable=old.trainable))
        self._keep(name, added)
        return self._become(changes.replaced(self._spec, added.submodel))

    # -- training ------------------------------------------------------------

    def freeze(self, *patterns: str, layers: str | None = None) -> Self:
        """Freeze submodels, or layers in them; models built before are not touched.

        Args:
            patterns: Names of submodels, or glob patterns (``"encoder*"``).
            layers: Name, path (``"block1/conv"``) or glob pattern of the layers to freeze; all by default.

        Returns:
            The graph.
        """
        return self._say(freezes=(*self._spec.freezes, *freezing.rules("freeze", patterns, layers, frozen=True)))

    def unfreeze(self, *patterns: str, layers: str | None = None) -> Self:
        """Restore the flags as they were saved; the arguments are those of ``freeze``."""
        return self._say(freezes=(*self._spec.freezes, *freezing.rules("unfreeze", patterns, layers, frozen=False)))

    # -- within --------------------------------------------------------------

    def _say(self, **said: Any) -> Self:
        return self._become(replace(self._spec, **said))

    def _become(self, spec: GraphSpec) -> Self:
        self._spec = spec
        return self

    def _check_new(self, name: str) -> None:
        again = (
            f"Give this one another name, or graph.share(..., of='{name}') for the same weights once more, or put it "
            f"in place of that one: graph.replace('{name}', ...)."
        )
        new_name(name, "submodel", self._names(), fix=again)

    def _names(self) -> list[str]:
        return [submodel.name for submodel in self._spec.submodels]
