"""Which submodels need environments of their own, because their pins exclude each other."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

from keras_stitch.errors import StitchError
from keras_stitch.graphs.names import name_of_several
from keras_stitch.graphs.spec import GraphSpec, Submodel, Wiring
from keras_stitch.placement.conflicts import Conflicts, Pin, listed, resolve
from keras_stitch.placement.plan import Companions, Reason, owner_of
from keras_stitch.placement.requirements import exclude, installed, joined, package, packages
from keras_stitch.placement.uv import Resolver, Uv

# What reads and runs a Kipoi model. six: a package that Kipoi needs imports it and does not say so.
OWN_BASE = ("kipoi", "six", "h5py", "pandas")
# TensorFlow brings six along. setuptools: the command `kipoi` imports pkg_resources, about which later versions warn.
_FINAL = ("setuptools<80.9", "h5py", "pandas", "pyyaml")
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_NO_INDEX = "the package index could not be asked"
_NO_BASE = f"the package index does not have what the stitched model needs for Python {_PYTHON}"
_KERAS = ("keras", "tensorflow")


@dataclass(frozen=True)
class Environment:
    """An environment for one or more submodels, with the packages that are installed in it, and its Python."""

    name: str
    submodels: tuple[str, ...]
    requirements: tuple[str, ...]
    python: str = _PYTHON


@dataclass(frozen=True)
class Settled:
    """Which submodels run in which environments.

    Attributes:
        leaving: The submodels that run in environments of their own, and why; in the order in which they were added.
        environments: The environments that they run in.
        remark: A remark about the whole graph; may be empty.
        unconsidered: The submodels whose pins no environment can meet; the remark names them.
    """

    leaving: Mapping[str, Reason]
    environments: tuple[Environment, ...] = ()
    remark: str = ""
    unconsidered: tuple[str, ...] = ()


def final_base() -> tuple[str, ...]:
    """What the stitched model needs, with the Keras that is installed here or a later one."""
    release = ".".join((installed("keras") or "3").split(".")[:2])
    return ("kipoi", f"keras>={release}", "tensorflow", *_FINAL)


def settle(spec: GraphSpec, wiring: Wiring, resolver: Resolver | None = None) -> Settled:
    """Find the fewest submodels that cannot be in the environment of the stitched model, and environments for them.

    Without a resolver, ``uv`` is asked, which asks the package index.

    Raises:
        StitchError: Where a submodel can neither be loaded here nor have an environment.
    """
    return _Settling(spec, wiring, resolver or Uv()).settled()


class _Settling:
    """One run of ``settle``, with its remarks."""

    def __init__(self, spec: GraphSpec, wiring: Wiring, resolver: Resolver):
        self._spec, self._companions, self._resolver = spec, Companions(spec, wiring), resolver
        self._kept = {s.name: s.placement for s in spec.submodels if s.placement in ("model", "dataloader")}
        self._remarks: dict[str, str] = {}  # what could not be done, and why
        self._unconsidered: list[str] = []

    def settled(self) -> Settled:
        """Which submodels leave, and where they run."""
        asked = "placement='workflow' asks for it"
        forced = {
            s.name: Reason(s.elsewhere or asked)
            for s in self._spec.submodels
            if s.elsewhere or s.placement == "workflow"
        }
        leaving = self._with_companions(forced)
        kept = {owner_of(self._spec.submodel(name)) for name in self._kept}
        left = [s for s in self._spec.submodels if not (s.share or s.name in leaving or s.name in kept)]
        staying = [submodel for submodel in left if submodel.requires]
        # Without unmet pins, this environment shows that all fit together.
        if any(submodel.unmet for submodel in staying):
            leaving = self._with_companions({**forced, **self._search(staying, leaving)})
        environments = self._environments(leaving)
        remark = "\n".join(f"{what}: {why}." for what, why in self._remarks.items())
        return Settled(leaving, environments, remark, tuple(self._unconsidered))

    def _search(self, staying: Sequence[Submodel], leaving: Mapping[str, Reason]) -> dict[str, Reason]:
        """The fewest further submodels that have to leave, with the pins that are the reasons."""
        pins = {submodel.name: [Pin(text, submodel.name) for text in submodel.requires] for submodel in staying}
        base = [Pin(text) for text in final_base()]
        conflicts, movable = Conflicts(base, pins, self._resolver), list(staying)
        if conflicts.fit(pins) is False:
            movable = [submodel for submodel in staying if self._can_leave(submodel, leaving)]
            free = {*self._unconsidered, *(submodel.name for submodel in movable)}
            base += [pin for submodel in staying if submodel.name not in free for pin in pins[submodel.name]]
            conflicts = Conflicts(base, pins, self._resolver)
            if conflicts.fit(()) is False:
                self._remarks["Only the numbers of the pins are compared"] = _NO_BASE
                conflicts = Conflicts(base, pins, None)
        found: list[frozenset[str]] = []
        chosen: tuple[str, ...] = ()
        rest = [submodel.name for submodel in movable]
        while conflicts.fit(rest) is False and (conflict := conflicts.conflict(rest)):
            found.append(conflict)
            chosen = self._fewest(found, leaving)
            gone = self._gone(chosen, leaving)
            rest = [submodel.name for submodel in movable if submodel.name not in gone]
        doubtful = [repr(name) for name in rest if self._spec.submodel(name).unmet]
        known = {_NO_INDEX, _NO_BASE}.intersection(self._remarks.values())
        if doubtful and not known and conflicts.fit(rest) is None:
            what = f"the pins of {listed(doubtful)} and those of the stitched model"
            self._remarks[f"Nobody could find out whether {what} fit together"] = _NO_INDEX
        gone = self._gone(chosen, leaving)
        # The conflict with the fewest members that leave explains the most.
        whys = {name: min((c for c in found if name in c), key=lambda c: len(c & gone)) for name in chosen}
        return {name: Reason(conflicts.reason(name, why)) for name, why in whys.items()}

    def _can_leave(self, submodel: Submodel, leaving: Mapping[str, Reason]) -> bool:
        """Whether a submodel can have its own environment; pins that no environment can meet are given up."""
        alone = self._gone([submodel.name], leaving)
        held = next((name for name in self._kept if name in alone), None)
        resolves = None if held else self._resolves(submodel)
        # Where nobody can tell, a submodel whose pins this environment meets keeps them.
        if resolves is False:
            self._load_here(submodel)
        elif resolves is None and submodel.unmet:
            why = f"'{held}' has placement='{self._kept[held]}' and would have to leave with it" if held else _NO_INDEX
            self._unconsidered.append(submodel.name)
            self._remarks[f"The pins of '{submodel.name}' ({_pins(submodel)}) are not considered"] = why
        return bool(resolves)

    def _load_here(self, submodel: Submodel) -> None:
        """Give up the pins of a submodel that no environment has."""
        self._unconsidered.append(submodel.name)
        what = f"'{submodel.name}' is loaded with the packages that are here"
        self._remarks[what] = f"no environment for Python {_python(submodel)} has {_pins(submodel)}"

    def _with_companions(self, leaving: Mapping[str, Reason]) -> dict[str, Reason]:
        return self._companions.of(leaving, lambda node: "which runs in an environment of its own")

    def _gone(self, names: Iterable[str], leaving: Mapping[str, Reason]) -> frozenset[str]:
        """The submodels that leave with these, apart from those that leave anyway."""
        return frozenset(self._with_companions({**leaving, **dict.fromkeys(names, Reason(""))})) - set(leaving)

    def _fewest(self, conflicts: Sequence[frozenset[str]], leaving: Mapping[str, Reason]) -> tuple[str, ...]:
        """The submodels that resolve all conflicts and take the fewest others along.

        Of equally few, those with unmet pins are chosen, then those that were added later.
        """
        order = [submodel.name for submodel in self._spec.submodels]
        best: tuple[tuple[int, int, list[int]], tuple[str, ...]] | None = None
        seen: set[frozenset[str]] = set()
        tries: list[tuple[str, ...]] = [()]
        while tries:
            some = tries.pop()
            gone = self._gone(some, leaving)
            if gone in seen or (best and len(gone) > best[0][0]):
                continue
            seen.add(gone)
            unbroken = next((conflict for conflict in conflicts if not conflict & gone), None)
            if unbroken:
                tries += [(*some, name) for name in order if name in unbroken]
                continue
            content = sum(not self._spec.submodel(name).unmet for name in gone)
            cost = (len(gone), content, sorted(-order.index(name) for name in gone))
            best = min(best or (cost, some), (cost, some), key=lambda one: one[0])
        return best[1] if best else ()

    def _environments(self, leaving: Mapping[str, Reason]) -> tuple[Environment, ...]:
        """Put each submodel into the first environment that takes it; twins share one."""
        owners = {name: owner_of(self._spec.submodel(name)) for name in leaving}
        shared: list[tuple[str, dict[str, tuple[str, ...]]]] = []
        for owner in dict.fromkeys(owners.values()):
            needs, python = self._needs(self._spec.submodel(owner))
            fitting = (room for its, room in shared if its == python)
            room = next((room for room in fitting if self._live_together([*room.values(), needs], python)), None)
            if room is None:
                shared.append((python, room := {}))
            room[owner] = needs
        made: dict[str, Environment] = {}
        for python, room in shared:
            members = tuple(name for name in leaving if owners[name] in room)
            name = _name(members, made)
            made[name] = Environment(name, members, joined((*OWN_BASE, *chain(*room.values()))), python)
        return tuple(made.values())

    def _needs(self, submodel: Submodel) -> tuple[tuple[str, ...], str]:
        """What a submodel needs in an environment of its own, and its Python."""
        wants = submodel.unmet or (submodel.python and not submodel.is_keras)
        own = submodel.elsewhere or (wants and submodel.name not in self._unconsidered)
        if own and self._resolves(submodel) is not False:
            return _own(submodel), _python(submodel)
        if submodel.elsewhere:
            raise _nowhere(submodel)
        if own:
            self._load_here(submodel)
        return self._needs_here(submodel), _PYTHON

    def _needs_here(self, submodel: Submodel) -> tuple[str, ...]:
        """What a submodel needs that is loaded with what is installed here."""
        met = tuple(item for item in submodel.requires if item not in submodel.unmet)
        if not submodel.is_keras:
            return met
        # It is saved by the Keras that is installed here.
        framework = tuple(f"{name}=={version}" for name in _KERAS if (version := installed(name)))
        return (*framework, *(item for item in met if package(item) not in _KERAS))

    def _live_together(self, needs: Iterable[Iterable[str]], python: str) -> bool:
        *there, added = map(frozenset, needs)
        if added <= frozenset().union(*there):
            return True
        requirements = joined((*OWN_BASE, *chain(*there, added)))
        # TensorFlow's packages install the same files: one of them would overwrite those of another.
        names = {re.split(r"[^\w.-]", item)[0] for item in requirements if package(item) == "tensorflow"}
        return len(names) < 2 and resolve(self._resolver, requirements, _other(python)) is not False

    def _resolves(self, submodel: Submodel) -> bool | None:
        return resolve(self._resolver, (*OWN_BASE, *_own(submodel)), _other(_python(submodel)))


def _own(submodel: Submodel) -> tuple[str, ...]:
    """The pins of a submodel, and what its Keras and its Theano need and do not say."""
    said = packages(submodel.requires)
    more = ["numpy<1.22"] if "theano" in said else []
    if any(exclude(item, "keras>=2.4") for item in submodel.requires):  # before, it did not run on TensorFlow 2.2
        more += [] if "theano" in said else ["tensorflow<2.2"]
    elif submodel.is_keras and "tensorflow" not in said:
        more.append("tensorflow")
    return (*submodel.requires, *more)


def _pins(submodel: Submodel) -> str:
    return ", ".join(submodel.unmet or submodel.requires)


def _python(submodel: Submodel) -> str:
    """The Python of an environment of its own: the one that it asks for, or this one."""
    return submodel.python or _PYTHON


def _other(python: str) -> str:
    """A release of Python as a resolver has it: this one needs no words."""
    return "" if python == _PYTHON else python


def _nowhere(submodel: Submodel) -> StitchError:
    return StitchError(
        f"Submodel '{submodel.name}' can neither be loaded here nor have an environment of its own.",
        expected=f"dependencies in its model.yaml that an environment for Python {_python(submodel)} can have",
        received=submodel.elsewhere,
        fix="Correct the dependencies, or mend what keeps it from being loaded here.",
    )


def _name(members: Sequence[str], taken: Collection[str]) -> str:
    name = name_of_several(members)
    numbered = (f"{name}_{number}" for number in count(2))
    return name if name not in taken else next(other for other in numbered if other not in taken)
