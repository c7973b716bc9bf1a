"""What the environments of a workflow need, as files for pip, uv, conda, Docker and Apptainer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_stitch import directory_layout as layout
from keras_stitch.kipoi.templates import write_yaml
from keras_stitch.placement import requirements
from keras_stitch.placement.environments import Environment

_DOCKER = """\
# {title}
FROM {base}
COPY requirements.txt /requirements.txt
RUN python -m pip install --no-cache-dir -r /requirements.txt
"""
_APPTAINER = """\
# {title}
Bootstrap: docker
From: {base}

%files
    requirements.txt /requirements.txt

%post
    python -m pip install --no-cache-dir -r /requirements.txt
"""


@dataclass(frozen=True)
class Needs:
    """What the models of one environment, their dataloaders (``said``), and their files and objects (``more``) need."""

    environment: Environment
    said: Sequence[Mapping[str, Sequence[str]]] = ()
    more: Sequence[str] = ()

    @property
    def python(self) -> str:
        """The release of its Python."""
        return self.environment.python

    @property
    def pip(self) -> list[str]:
        """As pip and uv have them: those of conda, too, where pip has a package of that name."""
        declared = [item for it in self.said for item in requirements.declared(it)]
        return list(requirements.joined([*self.environment.requirements, *declared, *self.more]))

    @property
    def section(self) -> dict[str, list[str]]:
        """The ``dependencies`` section of Kipoi, for ``kipoi env create``: conda's packages from conda."""
        conda = _once(item for it in self.said for item in it.get("conda", ()))
        from_conda = requirements.declared({"conda": conda})
        pip = [item for item in self.pip if item not in from_conda]
        channels = _once(item for it in self.said for item in it.get("conda_channels", ()) if item != "defaults")
        kept = [item for item in conda if not re.fullmatch(r"(?:.*::)?\s*python\b(?!-).*", item)]
        return {"conda": [f"python={self.python}", *kept], "pip": pip, "conda_channels": [*channels, "defaults"]}

    @property
    def base(self) -> str:
        """The image that an image is made from: the slim one lacks git."""
        slim = "" if any("git+" in item for item in self.pip) else "-slim"
        return f"python:{self.python}{slim}"

    def write(self, folder: Path) -> None:
        """Writes the requirements for uv, and what conda, Docker and Apptainer make an environment of."""
        folder.mkdir(parents=True)
        title = f"Needed by {', '.join(self.environment.submodels)}."
        listed = "".join(f"{item}\n" for item in self.pip)
        (folder / layout.PIP_REQUIREMENTS).write_text(f"# {title}\n{listed}")
        for name, text in ((layout.DOCKER_IMAGE, _DOCKER), (layout.APPTAINER_IMAGE, _APPTAINER)):
            (folder / name).write_text(text.format(title=title, base=self.base))
        section = self.section
        named: list[Any] = [*section["conda"], "pip", {"pip": section["pip"]}]
        described = {"name": f"kipoi-{self.environment.name}", "channels": section["conda_channels"]}
        write_yaml(folder / layout.CONDA_ENVIRONMENT, {**described, "dependencies": named})


def _once(items: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(items))
