import pytest
import yaml
from plain_graphs import node, spec

from keras_stitch.directory.hub_metadata import front_matter
from keras_stitch.errors import StitchError
from keras_stitch.graphs.spec import Source, Submodel


def read(info: dict[str, object], *submodels: Submodel) -> dict[str, object]:
    text = front_matter(spec(*submodels), info, "huggingface")
    start, data, end = text.split("---\n")
    assert (start, end) == ("", "\n")
    return yaml.safe_load(data)


def test_the_hub_is_told_library_tags_and_licence():
    assert read({"license": "MIT", "tags": ["a", "kipoi", "b: c"]}, node("m1")) == {
        "library_name": "keras",
        "tags": ["keras-stitch", "kipoi", "a", "b: c"],
        "license": "mit",
    }


@pytest.mark.parametrize(
    "stated, told",
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC BY-NC 4.0", {"license": "cc-by-nc-4.0"}),
        ("GPL-3.0-or-later", {"license": "gpl-3.0"}),
        ("MIT License", {"license": "mit"}),
        ("our own: ask us", {"license": "other", "license_name": "our-own-ask-us"}),
        ("许可", {"license": "other", "license_name": "unnamed"}),
        ("unspecified", {}),
    ],
)
def test_a_licence_has_the_name_that_the_hub_gives_it(stated, told):
    found = read({"license": stated})
    assert {key: found[key] for key in found if key.startswith("license")} == told


def test_repositories_that_are_sources_are_named_once():
    addresses = ["hf://user/a/m.h5@main", "hf://user/a/n.h5", "hf://user/b", "https://host.org/m.h5"]
    sources = [Submodel(f"m{i}", Source("file", "m.h5", address=text)) for i, text in enumerate(addresses)]
    assert read({"license": "unspecified"}, *sources)["base_model"] == ["user/a", "user/b"]


def test_other_cards_have_none():
    assert front_matter(spec(node("m1")), {"license": "MIT"}, "kipoi") == ""
    with pytest.raises(StitchError) as error:
        front_matter(spec(node("m1")), {"license": "MIT"}, "hub")
    assert str(error.value) == (
        "card= is no kind of model card.\n  Expected: one of kipoi, huggingface\n  Received: 'hub'"
    )
