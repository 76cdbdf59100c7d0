"""Every kind of network as ONNX: logits within 1e-4 in onnxruntime; int8 within a point of top-1 on digits."""

import json

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tleg_cli.augment.pipeline import normalise
from tleg_cli.data.open_source import open_source
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.build import TimmCall, create_network
from tleg_cli.models.model_file import ModelCard, write_model

pytestmark = pytest.mark.slow
FAMILIES = {
    "deit_tiny_patch16_224": {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {
        "img_size": 32, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4,
    },
    "convnext_tiny": {"depths": [1, 1, 2, 1], "dims": [8, 16, 16, 24]},
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_the_logits_of_a_family_are_those_of_torch(tleg, tmp_path, name):
    torch.manual_seed(0)
    call = TimmCall(name, {**FAMILIES[name], "num_classes": 10})
    network = create_network(call).eval()
    with torch.no_grad():  # timm's fresh heads give logits near 0
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    weights, out = tmp_path / "net.safetensors", tmp_path / "net.onnx"
    if name.startswith("deit"):  # a file of another program, which knows only its weights
        save_file(network.state_dict(), weights)
        options = {**FAMILIES[name], "num_classes": 10}
        own = ("--model", name, *(word for key in options for word in ("--option", f"{key}={options[key]}")))
    else:
        write_model(
            weights, network.state_dict(), ModelCard("teacher", call, 10, InputSpec(32, (0.5,) * 3, (0.5,) * 3))
        )
        own = ()
    done = tleg("export", weights, "--out", out, "--json", *own)
    assert done.code == 0, done.err
    session = onnxruntime.InferenceSession(str(out))
    for count in (1, 7):
        images = torch.randn(count, 3, 32, 32)
        (found,) = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            expected = network(images)
        assert expected.abs().max() > 0.1
        assert torch.allclose(torch.from_numpy(found), expected, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small ViT that knows digits, as a network file."""
    torch.manual_seed(0)
    sizes = {"img_size": 8, "patch_size": 2, "embed_dim": 64, "depth": 3, "num_heads": 4, "num_classes": 10}
    call = TimmCall("vit_tiny_patch16_224", {**sizes, "class_token": False, "global_pool": "avg"})
    network, source = create_network(call), open_source("digits")
    split = source.train()
    spec = InputSpec(8, (0.305,) * 3, (0.376,) * 3, 1.0)
    pixels = normalise(torch.from_numpy(split.images).permute(0, 3, 1, 2), spec.mean, spec.std)
    labels = torch.from_numpy(split.labels)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    epochs = 20
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, epochs * -(-len(labels) // 64))
    for _ in range(epochs):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(pixels[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    file = tmp_path_factory.mktemp("trained") / "net.safetensors"
    write_model(file, network.state_dict(), ModelCard("teacher", call, 10, spec, class_names=source.classes))
    return file


def test_int8_keeps_the_accuracy(tleg, trained, tmp_path):
    out = tmp_path / "net.onnx"
    done = tleg("export", trained, "--out", out, "--int8", "--data", "digits", "--json")
    assert done.code == 0, done.err
    report = done.json()
    assert report["calibration"]["images"] == 128
    assert "training images" in report["calibration"]["source"]
    top1 = {
        file: tleg("evaluate", file, "--data", "digits", "--json", "--device", "cpu").json()["top1"]
        for file in (trained, out)
    }
    assert top1[trained] > 90
    assert abs(top1[out] - top1[trained]) <= 1
    assert report["comparison"]["top1"] == pytest.approx({"network": top1[trained], "file": top1[out]})
    assert out.stat().st_size < 0.45 * trained.stat().st_size


def test_executorch_runs_one_image_at_a_time(tleg, trained, tmp_path):
    runtime = pytest.importorskip("executorch.runtime", reason="pip install 'tleg[executorch]'").Runtime.get()
    out = tmp_path / "net.pte"
    done = tleg("export", trained, "--format", "executorch", "--out", out, "--data", "digits", "--images", 20, "--json")
    assert done.code == 0, done.err
    assert done.json()["comparison"]["batch_sizes"] == [1]
    program = runtime.load_program(str(out))
    (about,) = program.load_method("tleg").execute([])
    assert json.loads(about)["class_names"] == list("0123456789")
    (logits,) = program.load_method("forward").execute([torch.zeros(1, 3, 8, 8)])
    assert logits.shape == (1, 10)


def test_int8_that_loses_accuracy_is_not_written(tleg, trained, tmp_path, monkeypatch):
    def ruin(source, target, sample):
        """All weights of one layer round to 0."""
        model = onnx.load(source)
        (head,) = (node for node in model.graph.node if node.op_type == "Gemm")
        for value in model.graph.initializer:
            if value.name in head.input:
                value.CopyFrom(onnx.numpy_helper.from_array(0 * onnx.numpy_helper.to_array(value), value.name))
        onnx.save(model, target)
        return []

    monkeypatch.setattr("tleg_cli.deploy.export.quantise", ruin)
    done = tleg("export", trained, "--out", tmp_path / "net.onnx", "--int8", "--data", "digits")
    assert done.code == 1
    assert "in int8, top-1 is" in done.err
    assert not list(tmp_path.iterdir())


def test_an_operator_that_onnx_lacks_is_named(tmp_path):
    from tleg_cli.deploy.write_onnx import write_onnx
    from tleg_cli.errors import ConfigError

    class Singular(torch.nn.Module):
        def forward(self, images):
            return torch.linalg.svdvals(images).mean(1)

    card = ModelCard("teacher", TimmCall("x", {}), 8, InputSpec(8, (0.5,) * 3, (0.5,) * 3))
    with pytest.raises(ConfigError, match="the network uses aten._linalg_svd, which ONNX opset 20 does not have"):
        write_onnx(Singular(), card, tmp_path / "net.onnx")
