"""`tleg export`: the file computes what the network does and says how it is used, or it does not get its name."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from tleg_cli.augment.pipeline import normalise
from tleg_cli.data.open_source import open_source
from tleg_cli.deploy.formats import FORMATS
from tleg_cli.deploy.sample import random_sample
from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.descendant import expanded_model
from tleg_cli.training.evaluate_file import Evaluation, open_scored

DEPTH = 4


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    """(file, report): the learngene's network of depth 4 as ONNX."""
    from tleg_cli.deploy.export import Export, export_network

    file = tmp_path_factory.mktemp("exported") / "net.onnx"
    said: list[str] = []
    report = export_network(Export(Evaluation(made.learngene, "digits", str(DEPTH)), file, "onnx"), said.append)
    assert [line.split()[0] for line in said] == ["exporting", "comparing"]
    return file, report


def expected_logits(made, images):
    gene = read_learngene(made.learngene)
    with torch.no_grad():
        return expanded_model(gene, (DEPTH,)).eval()(images)


def test_other_programs_get_the_same_logits_for_any_number_of_images(exported, made):
    file, report = exported
    spec = read_learngene(made.learngene).metadata.input
    session = onnxruntime.InferenceSession(str(file))
    sample = random_sample(spec, 7)
    for count in (1, 7):
        images = normalise(sample.images[:count], spec.mean, spec.std)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(found), expected_logits(made, images), atol=1e-4, rtol=0)
    comparison = report["comparison"]
    assert comparison["images"] == 500
    assert comparison["batch_sizes"] == [1, 7, 32]
    assert comparison["largest_difference"] < 1e-4
    assert report["bytes"]["file"] == file.stat().st_size


def test_the_metadata_say_how_to_use_the_file(exported, made):
    file, _ = exported
    about = {one.key: json.loads(one.value) for one in onnx.load(file).metadata_props}
    card = open_scored(Evaluation(made.learngene, "", str(DEPTH))).card
    assert open_scored(Evaluation(file, "")).card == card
    assert about["class_names"] == [str(number) for number in range(10)]
    assert (about["mean"], about["std"]) == ([0.305] * 3, [0.376] * 3)
    assert (about["image_size"], about["crop_pct"], about["interpolation"]) == (8, 1.0, "bicubic")
    assert (about["depth"], about["opset"], about["precision"]) == (DEPTH, 20, "fp32")
    assert str(Path(sys.prefix)).encode() not in file.read_bytes(), "torch's notes about where the code was are left"


def test_evaluate_and_predict_read_the_file(tleg, exported, made, tmp_path):
    file, report = exported
    scores = tleg("evaluate", file, "--data", "digits", "--json", "--device", "cpu").json()
    usual = tleg("evaluate", made.learngene, "--depth", DEPTH, "--data", "digits", "--json", "--device", "cpu").json()
    assert (scores["top1"], scores["images"]) == (usual["top1"], usual["images"])
    assert scores["loss"] == pytest.approx(usual["loss"], abs=1e-5)
    assert report["comparison"]["top1"]["file"] == pytest.approx(scores["top1"])
    photo = tmp_path / "photo.png"
    Image.effect_noise((11, 9), 80).save(photo)
    found = tleg("predict", file, photo, "--json", "--device", "cpu").json()[0]["guesses"]
    wanted = tleg("predict", made.learngene, photo, "--depth", DEPTH, "--json", "--device", "cpu").json()[0]["guesses"]
    assert [one["name"] for one in found] == [one["name"] for one in wanted]
    assert [one["probability"] for one in found] == pytest.approx([one["probability"] for one in wanted], abs=1e-5)


def test_a_file_that_computes_something_else_does_not_get_the_name(tleg, exported, made, tmp_path, monkeypatch):
    def write(network, card, file, opset):
        shutil.copyfile(exported[0], file)  # of another depth

    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], write=write))
    out = tmp_path / "net.onnx"
    out.write_bytes(b"before")
    done = tleg("export", made.learngene, "--depth", 2, "--out", out, "--force")
    assert done.code == 1
    assert "its logits differ from the network's by up to" in done.err
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_that_its_runtime_refuses_does_not_get_the_name(tleg, made, tmp_path, monkeypatch):
    def write(network, card, file, opset):
        wrong = "images" if opset == 20 else "pixels"
        value = onnx.helper.make_tensor_value_info
        shape = ["batch", 3, 8, 8]
        node = onnx.helper.make_node("Softplus", [wrong], ["logits"])
        graph = onnx.helper.make_graph([node], "g", [value(wrong, 1, shape)], [value("logits", 1, shape)])
        onnx.save(
            onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", opset)]), file
        )

    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], write=write))
    for opset, words in ((99, "is not kept: onnxruntime"), (19, "is not kept: it fails on 1 image")):
        done = tleg("export", made.learngene, "--out", tmp_path / "net.onnx", "--opset", opset)
        assert (done.code, words in done.err, "/tleg-" in done.err) == (1, True, False), done.err
        assert not list(tmp_path.iterdir())


def test_a_program_of_torch_runs_without_timm(tleg, made, tmp_path):
    out = tmp_path / "net.pt2"
    done = tleg("export", made.learngene, "--depth", 2, "--format", "torch", "--out", out)
    assert done.code == 0, done.err
    assert "random images" in done.err
    assert f"{out}: torch, fp32" in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines()[1:])
    extra = {"tleg.json": ""}
    program = torch.export.load(out, extra_files=extra)
    assert json.loads(extra["tleg.json"])["depth"] == 2
    assert program.module()(torch.zeros(3, 3, 8, 8)).shape == (3, 10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--out", "net.bin"], "ends in .onnx"),
        (["--out", "net.onnx", "--format", "onxn"], "Did you mean 'onnx'?"),
        (["--out", "net.onnx", "--int8"], "give --data"),
        (["--out", "net.pt2", "--format", "torch", "--int8", "--data", "digits"], "--int8 is for --format onnx"),
        (["--out", "net.pt2", "--format", "torch", "--opset", "20"], "--opset is for --format onnx"),
        (["--out", "net.onnx", "--max-drop", "2"], "--max-drop is for --int8"),
        (["--out", "gene.pth", "--format", "reference", "--depth", "3"], "--depth does not apply"),
        (["--out", "net.onnx", "--depth", "3-5"], "names 3 networks"),
        (["--out", "net.onnx", "--data", "synthetic/40x8x3"], "knows 10 classes, but the data has 3"),
        ([], "--out FILE"),
        (["net.onnx", "--out", "net.onnx"], "--out FILE"),
    ],
)
def test_what_cannot_be_is_one_line(tleg, made, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    done = tleg("export", made.learngene, *options)
    assert (done.code, words in done.err, len(done.err.splitlines())) == (1, True, 1), done.err
    assert not list(tmp_path.iterdir())


def test_an_existing_file_and_a_missing_package(tleg, exported, made, tmp_path, monkeypatch):
    done = tleg("export", made.learngene, "--out", exported[0])
    assert (done.code, "--force" in done.err) == (1, True)
    again = tleg("export", exported[0], "--out", tmp_path / "again.onnx")
    assert (again.code, "is exported already" in again.err) == (1, True)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = tleg("export", made.learngene, "--out", tmp_path / "net.onnx")
    assert done.err == (
        "error: --format onnx needs the package onnxscript, which is not installed: pip install 'tleg[export]'\n"
    )


def test_onnx_files_of_others_are_refused(tleg, exported, tmp_path):
    model = onnx.load(exported[0])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    shape, value = ["batch", 3, 8, 8], onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Softplus", ["images"], ["logits"])
    graph = onnx.helper.make_graph([node], "g", [value("images", 1, shape)], [value("logits", 1, shape)])
    wrong = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 20)])
    wrong.metadata_props.extend(onnx.load(exported[0]).metadata_props)
    onnx.save(wrong, tmp_path / "wrong.onnx")
    (tmp_path / "broken.onnx").write_bytes(exported[0].read_bytes()[:-999])
    for name, words in (
        ("other.onnx", "preprocessing are unknown"),
        ("broken.onnx", "can't load"),
        ("wrong.onnx", "it says 10 classes and 8 pixels, but takes"),
        ("none.onnx", "no model at"),
    ):
        done = tleg("evaluate", tmp_path / name, "--data", "digits", "--device", "cpu")
        assert (done.code, words in done.err, len(done.err.splitlines())) == (1, True, 1), done.err
    done = tleg("evaluate", exported[0], "--data", "digits", "--depth", "3", "--device", "cpu")
    assert (done.code, "--depth is for learngenes" in done.err) == (1, True)


def test_the_program_of_the_document_says_what_predict_says(tleg, exported, tmp_path, monkeypatch, capfd):
    """docs/deploy.md: onnxruntime, numpy and Pillow, with nothing of tleg."""
    document = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
    program = document.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(exported[0], "net.onnx")
    split = open_source("digits").val()
    for index in range(8):
        image, _ = split[index]
        image.resize((13 + index, 11)).save("photo.png")
        capfd.readouterr()
        values = {}
        exec(compile(program, "docs/deploy.md", "exec"), values)
        printed = capfd.readouterr().out.strip()
        (found,) = tleg("predict", "net.onnx", "photo.png", "--json", "--device", "cpu", "--top", 10).json()
        assert printed == found["guesses"][0]["name"]
        shares = torch.from_numpy(values["logits"])[0].softmax(0)
        assert [shares[one["index"]].item() for one in found["guesses"]] == pytest.approx(
            [one["probability"] for one in found["guesses"]], abs=1e-5
        )
