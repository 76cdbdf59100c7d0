"""--module, --layer, --sort, --top."""

import pytest

from tleg_cli.errors import ConfigError
from tleg_cli.inspect.inspection import inspect_files
from tleg_cli.inspect.overview import InspectOptions
from tleg_cli.inspect.selection import refuse_without_weights, selection_of


def names(document) -> list[str]:
    return [one["name"] for one in document["files"][0]["tensors"]]


@pytest.fixture
def document(files):
    return inspect_files([files["trained"]], InspectOptions(bases=(), against=files["learngene"]))


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 49), ({"module": "attn.qkv"}, 24), ({"module": "attn"}, 24), ({"module": "m*"}, 12), ({"layer": "0,2-3"}, 12),
     ({"module": "mlp.fc1", "layer": "11"}, 1), ({"top": 5}, 5)],
)  # fmt: skip
def test_what_is_chosen(document, options, count):
    assert len(names(selection_of(**options).apply(document))) == count


@pytest.mark.parametrize("column", ["norm", "std", "r2", "drift", "spectral_norm", "layer"])
def test_numbers_run_downwards(document, column):
    chosen = selection_of(sort=column, module="attn.qkv").apply(document)
    values = [one[column] for one in chosen["files"][0]["tensors"] if one.get(column) is not None]
    assert values == sorted(values, reverse=True)


def test_the_other_parts_follow_the_module(document):
    file = selection_of(module="attn").apply(document)["files"][0]
    assert {one["module"] for key in ("stacks", "modules") for one in file[key]} == {"attn.qkv"}
    assert {one["module"] for one in file["against"]["tensors"]} == {"attn.qkv"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": "x"}, ["'x' is not a block"]),
        ({"layer": "5-2"}, ["is not a block"]),
        ({"layer": "40"}, ["nothing in layers 40", "0 to 11"]),
        ({"module": "attn.qvk"}, ["no module fits 'attn.qvk'", "Did you mean 'attn.qkv'"]),
        ({"sort": "nrm"}, ["--sort nrm", "Did you mean 'norm'"]),
    ],
)
def test_what_is_not_there_is_said(document, options, words):
    with pytest.raises(ConfigError) as caught:
        selection_of(**options).apply(document)
    for word in words:
        assert word in str(caught.value)


def test_drift_needs_something_to_drift_from(files):
    with pytest.raises(ConfigError, match="--against"):
        selection_of(sort="drift").apply(inspect_files([files["random"]], InspectOptions(bases=())))


def test_shapes_alone_have_no_numbers():
    refuse_without_weights(selection_of(sort="parameters"), basis=None, against=None)
    for selection, options in ((selection_of(sort="norm"), {}), (selection_of(), {"against": "x"})):
        with pytest.raises(ConfigError, match="--shapes reads no weights"):
            refuse_without_weights(selection, **options)
