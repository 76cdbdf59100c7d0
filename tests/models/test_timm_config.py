"""Plain timm loads what tleg writes, with the preprocessing that the network was trained with."""

import timm
import torch
from timm.data import resolve_data_config

from tests.tiny import tiny_config
from tleg_cli import plugin_manager
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.build import create_network, timm_call
from tleg_cli.models.model_file import ModelCard, write_model
from tleg_cli.models.teacher import new_teacher

SPEC = InputSpec(8, (0.3, 0.31, 0.32), (0.37, 0.38, 0.39), 1.0)


def assert_timm_has_it(folder, network, spec, names):
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
    images = torch.rand(2, 3, spec.image_size, spec.image_size)
    assert torch.equal(loaded.eval()(images), network.eval()(images))
    data = resolve_data_config(model=loaded)
    assert tuple(data["input_size"]) == (3, spec.image_size, spec.image_size)
    assert tuple(data["mean"]) == spec.mean
    assert tuple(data["std"]) == spec.std
    assert data["crop_pct"] == spec.crop_pct
    assert data["interpolation"] == "bicubic"
    assert list(loaded.pretrained_cfg["label_names"]) == names


def test_a_descendant_loads_from_its_folder(tmp_path):
    backbone = plugin_manager.get_backbone("vit")
    options = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "num_heads": 2}
    call = timm_call(backbone, options, (5,), 3)
    network = create_network(call)
    card = ModelCard("descendant", call, 3, SPEC, class_names=("a", "b", "é"))
    write_model(tmp_path / "model.safetensors", network.state_dict(), card)
    write_model(tmp_path / "model_ema.safetensors", create_network(call).state_dict(), card)
    assert_timm_has_it(tmp_path, network, SPEC, ["a", "b", "é"])


def test_a_swin_descendant_loads_from_its_folder(tmp_path):
    backbone = plugin_manager.get_backbone("swin")
    options = {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 16, "num_heads": (2, 2, 2, 2)}
    call = timm_call(backbone, {k: v for k, v in options.items() if k in backbone.options}, (1, 1, 2, 1), 2)
    network, spec = create_network(call), InputSpec(32, SPEC.mean, SPEC.std, 0.9)
    write_model(
        tmp_path / "model.safetensors", network.state_dict(), ModelCard("descendant", call, 2, spec, {}, ("a", "b"))
    )
    assert_timm_has_it(tmp_path, network, spec, ["a", "b"])


def test_a_teacher_loads_from_its_folder(tmp_path):
    teacher, card = new_teacher(tiny_config().teacher, SPEC, ("a", "b"))
    write_model(tmp_path / "teacher.safetensors", teacher.net.state_dict(), card)
    assert_timm_has_it(tmp_path, teacher.net, card.input, ["a", "b"])


def test_a_folder_of_several_networks_has_no_config(tmp_path):
    call = timm_call(plugin_manager.get_backbone("vit"), {"embed_dim": 12}, (1,), 2)
    write_model(
        tmp_path / "x-depth-01.safetensors", create_network(call).state_dict(), ModelCard("descendant", call, 2, SPEC)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x-depth-01.safetensors"]
