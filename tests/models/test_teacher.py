"""The teacher: a file of any kind or timm's hub, seen through its own normalisation; or one line that says how to get it."""

import socket
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from tleg_cli.config import TeacherSection
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models import published
from tleg_cli.models.teacher import channels_last, load_teacher

DATA = InputSpec(224, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
CLASSES = [str(label) for label in range(1000)]
MODEL = "levit_128s"  # the smallest of levit_384's family


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(MODEL, num_classes=1000).eval()


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors", "under-model.pth", "state-dict.pt"])
def test_a_local_file_gives_the_networks_own_logits(net, name, tmp_path):
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    if name == "x.safetensors":
        save_file(weights, tmp_path / name)
    else:
        key = {"under-model.pth": "model", "state-dict.pt": "state_dict"}.get(name)
        torch.save({key: weights, "epoch": 3} if key else weights, tmp_path / name)
    teacher = load_teacher(TeacherSection(model=MODEL, weights=str(tmp_path / name)), DATA, CLASSES)
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))

    def normalised(mean, std):
        return (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)

    usual = net.pretrained_cfg
    expected = net(normalised(usual["mean"], usual["std"]))
    assert torch.allclose(teacher.logits(normalised(DATA.mean, DATA.std)), expected, atol=1e-4)
    assert not teacher.network.training
    assert not any(parameter.requires_grad for parameter in teacher.network.parameters())


def test_images_of_another_size_are_resized_for_it(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "x.pth")
    section = TeacherSection(model=MODEL, weights=str(tmp_path / "x.pth"))
    teacher = load_teacher(section, replace(DATA, image_size=64), CLASSES)
    assert teacher.logits(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_what_timm_leaves_out_of_older_files_is_left_out(net, tmp_path):
    """Early LeViT files hold tables of indices beside the weights."""
    tables = {"stages.0.blocks.0.attn.attention_bias_idxs": torch.zeros(4, dtype=torch.int64)}
    torch.save({"model": {**net.state_dict(), **tables}}, tmp_path / "older.pth")
    teacher = load_teacher(TeacherSection(model=MODEL, weights=str(tmp_path / "older.pth")), DATA, CLASSES)
    ours = teacher.network.net.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in net.state_dict().items())


def test_another_networks_file_and_other_classes_are_refused(net, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(FileFormatError, match="other.pth"):
        load_teacher(TeacherSection(model=MODEL, weights=str(tmp_path / "other.pth")), DATA, CLASSES)
    torch.save(net.state_dict(), tmp_path / "x.pth")
    with pytest.raises(FileFormatError, match="with 10 classes"):
        load_teacher(TeacherSection(model=MODEL, weights=str(tmp_path / "x.pth")), DATA, CLASSES[:10])
    with pytest.raises(ConfigError, match="timm has no model 'levit_385'; did you mean levit_384"):
        load_teacher(TeacherSection(model="levit_385"), DATA, CLASSES)


@pytest.mark.parametrize("offline", [True, False], ids=["HF_HUB_OFFLINE", "no route"])
def test_without_network_and_file_one_line_says_what_to_get_and_where_to_put_it(offline, monkeypatch, tmp_path):
    def no_route(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(published, "fetched_already", lambda model: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(published.urllib.request, "getproxies", dict)
    monkeypatch.setattr(socket, "create_connection", no_route)
    with pytest.raises(ConfigError) as caught:
        load_teacher(TeacherSection(), DATA, CLASSES)
    message = str(caught.value)
    assert "\n" not in message
    for words in (
        "levit_384",
        "hf download timm/levit_384.fb_dist_in1k model.safetensors",
        "--teacher model.safetensors",
    ):
        assert words in message


def test_channels_last_is_the_same_function_and_changes_no_other_layer():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    for name, options in (
        ("resnet10t", {"channels": [8, 8, 8, 8]}),
        ("vit_tiny_patch16_224", {"img_size": 32, "depth": 1}),
    ):
        network = timm.create_model(name, num_classes=5, **options).eval()
        with torch.no_grad():
            expected = network(images)
            torch.testing.assert_close(channels_last(network)(images), expected, rtol=1e-4, atol=1e-5)
        for value in network.parameters():
            assert value.ndim != 4 or value.is_contiguous(memory_format=torch.channels_last)
            assert value.ndim == 4 or value.is_contiguous()
