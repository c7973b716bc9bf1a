import pytest

from keras_stitch.addresses.parse_address import HubAddress, WebAddress, is_address, parse
from keras_stitch.errors import SourceError

COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    "text, address",
    [
        ("hf://user/repo", HubAddress("user/repo")),
        ("hf://user/repo@v1.0", HubAddress("user/repo", revision="v1.0")),
        ("hf://user/repo/models/m.h5", HubAddress("user/repo", "models/m.h5")),
        ("hf://user/repo/m.keras@refs/pr/1", HubAddress("user/repo", "m.keras", "refs/pr/1")),
        ("hf://user/repo/a@b.h5@main", HubAddress("user/repo", "a@b.h5", "main")),
        ("https://host.org/m.h5?download=1", WebAddress("https://host.org/m.h5?download=1")),
        ("doi:10.5281/zenodo.17/m.h5", WebAddress("doi:10.5281/zenodo.17/m.h5")),
        ("doi:10.7910/DVN/ABC/m.h5", WebAddress("doi:10.7910/DVN/ABC/m.h5")),
    ],
)
def test_an_address_is_read_and_written(text, address):
    assert parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "hf://user",
        "hf://user/",
        "hf://user/repo/",
        "hf://user//m.h5",
        "hf://user/repo@",
        "hf://us er/repo",
        "hf://user/repo/../../other/m.h5",
        "hf://user/../m.h5",
        "hf://user/repo/m.h5@../../refs",
        "hf://user/repo/m.h5@/etc",
        "hf://user/repo/a\\b.h5",
    ],
)
def test_what_is_no_place_on_the_hub_is_refused(text):
    with pytest.raises(SourceError) as error:
        parse(text)
    assert str(error.value) == (
        f"{text!r} is no address on the Hugging Face Hub.\n"
        "  Expected: hf://user/repo, hf://user/repo/file or hf://user/repo/file@revision"
    )


@pytest.mark.parametrize(
    "text", ["hf://user/repo/a\0.h5", "https://host/a\nb", "https://host/\ud800", "doi:10.1/2/\x1b[31m"]
)
def test_characters_that_no_address_has_are_refused(text):
    with pytest.raises(
        SourceError, match=r" holds a character that no address has.\n  Expected: hf://user/repo, "
    ) as error:
        parse(text)
    assert str(error.value).replace("\n", "").isprintable()


def test_data_sets_are_refused():
    with pytest.raises(
        SourceError, match=r"'hf://datasets/user/data' is not a model repository.\n  Expected: hf://user"
    ):
        parse("hf://datasets/user/data")


@pytest.mark.parametrize("text", ["https://", "https:///m.h5", "http://[::1/m.h5", "https://host/a b"])
def test_what_is_no_url_is_refused(text):
    with pytest.raises(
        SourceError, match=r"is no address.\n  Expected: hf://user/repo, .* https://host/file or doi:10."
    ):
        parse(text)


@pytest.mark.parametrize(
    "text", ["doi:10.5281/zenodo.17", "doi:zenodo.17/m.h5", "doi:10.5281/zenodo.17/", "doi://10.1/2/3"]
)
def test_a_doi_without_a_file_is_refused(text):
    with pytest.raises(
        SourceError, match=r"names no file in an archive.\n  Expected: .*doi:10.5281/zenodo.1234/model.h5"
    ):
        parse(text)


def test_a_password_is_refused_and_not_shown():
    with pytest.raises(SourceError) as error:
        parse("https://me:secret@host.org/m.h5")
    assert str(error.value) == (
        "The address of host.org holds a user name or a password, which every record of the graph would show.\n"
        "  Fix: Leave it out, and put it into ~/.netrc."
    )


def test_paths_and_names_of_zoos_are_no_addresses():
    for text in ("m.h5", "hf/user/repo", "kipoi:DeepSEA/predict", "file:///m.h5", "./https://m.h5", 7, None):
        assert not is_address(text)


def test_only_a_commit_stays():
    assert parse("hf://user/repo").moves and parse("hf://user/repo@main").moves
    assert not parse(f"hf://user/repo@{COMMIT}").moves
    assert HubAddress("user/repo", "m.h5", "main", COMMIT).pinned == f"hf://user/repo/m.h5@{COMMIT}"


@pytest.mark.parametrize(
    "text, label",
    [
        ("hf://user/repo@main", "repo"),
        ("hf://user/repo/models/m.h5", "m.h5"),
        ("https://host.org/a/m%20%2Fx.h5?x=1", "x.h5"),
        ("https://host.org/", "file"),
        ("https://host.org/..", "file"),
        ("https://host.org/%2e%2e", "file"),
        ("https://host.org/..%2f..%2fetc%2fp;w", "p_w"),
        (f"https://host.org/{'m' * 300}.h5", f"{'m' * 97}.h5"),
        ("doi:10.5281/zenodo.17/m 1.h5", "m_1.h5"),
        (f"https://host.org/{'模' * 200}.h5", f"{'_' * 97}.h5"),
    ],
)
def test_a_label_is_the_name_of_one_file(text, label):
    assert parse(text).label == label
