"""The document of an inspection: what it says of made files, and that it is JSON whatever the file holds."""

import json

import pytest
import torch
from safetensors.torch import save_file

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.inspect.inspection import inspect_file, inspect_files
from tleg_cli.inspect.overview import InspectOptions

SHAPES_ONLY = InspectOptions(bases=None)
ALL = InspectOptions(bases=())


def r2(entry, basis="linear"):
    return next(one for one in entry["linearity"]["bases"] if one["basis"] == basis)


def test_a_line_is_found_and_chance_stands_beside_it(files):
    found = inspect_file(files["descendant"], ALL)
    assert (found["kind"], found["depth"], found["stages"]) == ("checkpoint", "12", ["blocks"])
    for entry in (*found["stacks"], *found["modules"], *found["overall"]):
        assert r2(entry)["r2"] == pytest.approx(1, abs=1e-9)
        assert r2(entry)["random"] == pytest.approx(1 / 11)
        assert r2(entry)["shuffled_95"] < 0.6
        assert r2(entry)["p"] < 0.01
        assert r2(entry, "constant")["r2"] == pytest.approx(0, abs=1e-9)
        assert entry["linearity"]["pca"]["explained"][0] == pytest.approx(1)
        assert len(entry["linearity"]["norms"]) == 12


def test_random_weights_are_found_to_be_random(files):
    overall = inspect_file(files["random"], ALL)["overall"][0]
    assert r2(overall)["r2"] == pytest.approx(1 / 11, abs=0.03)
    assert overall["linearity"]["common"] == pytest.approx(1 / 12, abs=0.02)


def test_a_learngene_shows_theta_and_a_network_that_of_its_fit(files, gene):
    theta = gene().theta["blocks.*.attn.qkv.weight"].double()
    stored = inspect_file(files["learngene"], ALL)
    fitted = inspect_file(files["descendant"], ALL)
    for document in (stored, fitted):
        entry = next(one for one in document["stacks"] if one["name"] == "blocks.*.attn.qkv.weight")["theta"]
        assert entry["norms"] == pytest.approx([float(theta[0].norm()), float(theta[1].norm())], rel=1e-5)
        cosine = float((theta[0] * theta[1]).sum() / theta[0].norm() / theta[1].norm())
        assert (entry["ratio"], entry["cosine"]) == pytest.approx(
            (float(theta[1].norm() / theta[0].norm()), cosine), rel=1e-4
        )
    assert (stored["kind"], stored["basis"], stored["depth"]) == ("learngene", "linear", "6")
    assert [row["part"] for row in stored["tensors"] if row["stack"]][:2] == ["theta_B", "theta_A"]


def test_what_is_stored_and_what_is_produced(files, gene):
    block = sum(theta[0].numel() for theta in gene().theta.values())
    found = inspect_file(files["learngene"], InspectOptions(depths="3,6"))["produced"]
    assert found["stored"] == 2 * block + 80
    assert [one["parameters"] for one in found["networks"]] == [3 * block + 80, 6 * block + 80]
    assert found["ratio"] == pytest.approx((9 * block + 160) / (2 * block + 80))


@pytest.mark.parametrize("name", ["learngene", "descendant", "random", "other"])
def test_the_header_says_the_same_as_the_weights(files, name):
    shapes, whole = inspect_file(files[name], SHAPES_ONLY), inspect_file(files[name], ALL)
    assert "modules" not in shapes
    for key in ("kind", "depth", "basis", "parameters", "produced", "dtypes"):
        assert shapes[key] == whole[key]
    assert [one["name"] for one in shapes["tensors"]] == [one["name"] for one in whole["tensors"]]


def test_statistics_are_those_of_the_tensor(files, gene):
    theta = gene().theta["blocks.*.mlp.fc1.weight"][1].double()
    found = next(
        one
        for one in inspect_file(files["learngene"], ALL)["tensors"]
        if one["name"] == "blocks.*.mlp.fc1.weight theta_A"
    )
    assert found["mean"] == pytest.approx(float(theta.mean()))
    assert found["spectral_norm"] == pytest.approx(float(torch.linalg.matrix_norm(theta, 2)))
    assert sum(found["histogram"]) == theta.numel() == found["parameters"]


def odd_file(path, change):
    weights = {f"blocks.{n}.{name}": torch.randn(4, 4) for n in range(5) for name in ("a.weight", "b.weight")}
    save_file({**weights, **change}, path)
    return path


@pytest.mark.parametrize(
    ("change", "nan", "inf"),
    [
        ({"blocks.2.a.weight": torch.full((4, 4), float("nan"))}, 16, 0),
        ({"blocks.2.a.weight": torch.full((4, 4), float("-inf"))}, 0, 16),
        ({f"blocks.{n}.a.weight": torch.full((4, 4), float("nan")) for n in range(5)}, 80, 0),
    ],
)
def test_nan_and_inf_are_counted_and_the_rest_is_measured(tmp_path, change, nan, inf):
    document = inspect_files([odd_file(tmp_path / "x.safetensors", change)], ALL)
    found = json.loads(json.dumps(document, allow_nan=False))["files"][0]
    assert (found["nan"], found["inf"]) == (nan, inf)
    module = {one["module"]: one for one in found["modules"]}
    assert (module["a"]["linearity"], module["a"]["measured"], module["b"]["measured"]) == (None, 0, 1)
    assert r2(module["b"])["r2"] is not None


def test_dtypes_may_be_mixed(tmp_path):
    change = {
        "blocks.0.a.weight": torch.randn(4, 4).bfloat16(),
        "blocks.1.a.weight": torch.randn(4, 4).half(),
        "steps": torch.tensor([7]),
    }
    change |= {f"blocks.{n}.count": torch.tensor(n) for n in range(5)}
    found = inspect_file(odd_file(tmp_path / "x.safetensors", change), ALL)
    assert found["dtypes"] == {"float32": 8, "int64": 6, "bfloat16": 1, "float16": 1}
    assert r2(next(one for one in found["modules"] if one["module"] == "a"))["r2"] is not None
    assert next(one for one in found["stacks"] if one["name"] == "blocks.*.count")["linearity"] is None
    assert found["parameters"]["buffers"] == 6


def test_one_layer_no_layers_and_no_tensors(tmp_path):
    save_file({"blocks.0.a.weight": torch.randn(3, 3)}, tmp_path / "one.safetensors")
    one = inspect_file(tmp_path / "one.safetensors", ALL)
    assert r2(one["overall"][0])["r2"] is None
    save_file({"conv.weight": torch.randn(3, 3)}, tmp_path / "none.safetensors")
    none = inspect_file(tmp_path / "none.safetensors", ALL)
    assert (none["modules"], none["produced"], none["depth"]) == ([], None, None)
    save_file({}, tmp_path / "empty.safetensors")
    assert inspect_file(tmp_path / "empty.safetensors", ALL)["parameters"]["stored"] == 0


def test_stages_stand_apart(tmp_path, gene):
    from tleg_cli.learngene.expand import expand

    save_file(expand(gene(depth=(2, 4)), (2, 4)), tmp_path / "swin.safetensors")
    found = inspect_file(tmp_path / "swin.safetensors", ALL)
    assert found["depth"] == "2:4"
    assert [one["linearity"]["layers"] for one in found["overall"]] == [2, 4]


def test_unknown_bases_and_depths_are_refused_before_any_work(files):
    with pytest.raises(ConfigError, match="Did you mean 'linear'"):
        inspect_file(files["random"], InspectOptions(bases=("liner",)))
    with pytest.raises(ConfigError, match="is not a depth"):
        inspect_file(files["random"], InspectOptions(depths="x"))


@pytest.mark.parametrize("metadata", [{"depth": [{}]}, {"depth": ["x"]}, {"depth": [0]}, [], {"classes": [1, {}]}])
@pytest.mark.parametrize("question", [SHAPES_ONLY, ALL])
def test_a_forged_learngene_is_shown_or_refused(tmp_path, metadata, question):
    forged = {"format": "tleg-learngene", "basis": "linear", "stages": 3, "metadata": metadata}
    save_file(
        {"theta/blocks.*.a.weight": torch.randn(2, 3, 3)}, tmp_path / "x.safetensors", {"tleg": json.dumps(forged)}
    )
    try:
        json.dumps(inspect_files([tmp_path / "x.safetensors"], question), allow_nan=False)
    except (ConfigError, FileFormatError) as error:
        assert "\n" not in str(error)
