"""What the Hugging Face Hub reads of a model card: the YAML before its text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from keras_stitch.addresses.parse_address import HubAddress, parse
from keras_stitch.directory.model_info import UNSPECIFIED
from keras_stitch.directory.save_request import CARDS
from keras_stitch.errors import StitchError, nearest
from keras_stitch.graphs.spec import GraphSpec

_TAGS = ("keras-stitch", "kipoi")
# Of the licences that the Hub has a name for (https://huggingface.co/docs/hub/repositories-licenses), the usual ones.
_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 gpl
    gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 mit mpl-2.0 ms-pl ncsa odbl openrail osl-3.0 pddl unlicense wtfpl zlib
"""


def front_matter(spec: GraphSpec, info: Mapping[str, Any], card: str) -> str:
    """The front matter of a model card, empty for one that only Kipoi's users read.

    Args:
        spec: The graph; repositories of the Hub among its sources become ``base_model``.
        info: The section of that name of ``model.yaml``.
        card: One of ``CARDS``.

    Raises:
        StitchError: If ``card`` is none of them.
    """
    if card not in CARDS:
        raise StitchError(
            "card= is no kind of model card.", expected=nearest(str(card), CARDS), received=repr(card)[:200]
        )
    if card != "huggingface":
        return ""
    data = {"library_name": "keras", "tags": list(dict.fromkeys([*_TAGS, *map(str, info.get("tags", ()))]))}
    data |= _licence(str(info["license"]))
    addresses = [parse(submodel.source.address) for submodel in spec.submodels if submodel.source.address]
    models = dict.fromkeys(address.repo for address in addresses if isinstance(address, HubAddress))
    if models:
        data["base_model"] = list(models)
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n\n"


def _licence(stated: str) -> dict[str, str]:
    """A licence as the Hub has it: one of its identifiers, or ``other`` with a name."""
    if stated == UNSPECIFIED:
        return {}
    name = re.sub(r"[^a-z0-9.-]+", "-", stated.lower()).strip("-")
    for known in (name, name.removesuffix("-only"), name.removesuffix("-or-later"), name.removesuffix("-license")):
        if known in _LICENCES.split():
            return {"license": known}
    return {"license": "other", "license_name": name or "unnamed"}
