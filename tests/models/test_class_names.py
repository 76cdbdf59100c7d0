"""A head's outputs belong to the data's classes by name: equal, in another order, or refused."""

import json
import unicodedata

import pytest
import timm
import torch

from tleg_cli.errors import ConfigError
from tleg_cli.models.class_names import ClassMatch, OtherClasses, match_classes, read_class_map, reorder_head, reordered

NUMBERS = tuple(map(str, range(1, 12)))  # as folders 1..11 are numbered here
TORCHVISION = tuple(sorted(NUMBERS))  # 1, 10, 11, 2, ...


def test_the_same_names_in_the_same_order_need_nothing():
    assert match_classes(("a", "b"), 2, ("a", "b"), "x.pt") == ClassMatch()


def test_another_order_is_put_in_order_and_reported():
    match = match_classes(TORCHVISION, 11, NUMBERS, "x.pt")
    assert [TORCHVISION[output] for output in match.order] == list(NUMBERS)
    assert match.note.count("\n") == 0
    for words in ("x.pt", "class 1 is '10', the data's '2'", "data's order"):
        assert words in match.note


def test_names_that_differ_are_refused_with_the_first_of_them():
    with pytest.raises(OtherClasses) as caught:
        match_classes(("cat", "dog", "cow", "hen", "owl"), 5, ("cat", "hound", "ox", "chick", "bird"), "x.pt")
    message = str(caught.value)
    assert "\n" not in message
    for words in ("class 1 is 'dog', not 'hound'", "class 3 is 'hen', not 'chick' and 1 more", "--class-map"):
        assert words in message


def test_a_name_that_two_outputs_share_can_not_be_put_in_order():
    """ImageNet has two classes `crane` and two `maillot` in words."""
    names = ("crane", "bird", "crane")
    assert match_classes(names, 3, names, "x.pt").order is None
    with pytest.raises(OtherClasses):
        match_classes(names, 3, ("bird", "crane", "crane"), "x.pt")


def test_a_file_without_names_is_counted_and_noted():
    match = match_classes(None, 2, ("a", "b"), "old.pt")
    assert match.order is None
    assert "old.pt does not name its classes" in match.note
    with pytest.raises(OtherClasses, match=r"old\.pt knows 3 classes, but the data has 2"):
        match_classes(None, 3, ("a", "b"), "old.pt")


def test_accents_are_the_same_however_the_system_spells_them():
    names = ("café", "thé")
    decomposed = tuple(unicodedata.normalize("NFD", name) for name in names)
    assert decomposed != names
    assert match_classes(decomposed, 2, names, "mac.pt") == ClassMatch()
    assert match_classes(decomposed[::-1], 2, names, "mac.pt").order == (1, 0)


@pytest.mark.parametrize(
    ("model", "options", "head"),
    [
        (
            "vit_tiny_patch16_224",
            {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2, "depth": 1},
            ["head"],
        ),
        ("deit_tiny_distilled_patch16_224", {"embed_dim": 16, "num_heads": 2, "depth": 1}, ["head", "head_dist"]),
        ("convnext_atto", {"dims": (8, 8, 8, 8), "depths": (1, 1, 1, 1)}, ["head.fc"]),
    ],
)
def test_rows_of_the_head_move_as_its_logits_do(model, options, head):
    net = timm.create_model(model, num_classes=4, **options).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    size = options.get("img_size", 224)
    images, order = torch.randn(2, 3, size, size), (2, 0, 3, 1)
    with torch.no_grad():
        expected = net(images)[:, list(order)]
        assert torch.equal(reordered(net, ClassMatch(order))(images), expected)
        net.load_state_dict(reorder_head(net.state_dict(), head, order))
        assert torch.allclose(net(images), expected, atol=1e-6)


def test_only_the_head_moves():
    weights = {
        "head.weight": torch.arange(8.0).view(4, 2),
        "header.weight": torch.ones(4),
        "head.scale": torch.ones(()),
    }
    moved = reorder_head(weights, ["head"], (3, 2, 1, 0))
    assert torch.equal(moved["head.weight"], weights["head.weight"].flip(0))
    assert moved["header.weight"] is weights["header.weight"]
    assert moved["head.scale"] is weights["head.scale"]


@pytest.mark.parametrize(
    "text",
    [
        "dog\ncat\nowl\n",
        "\ufeffdog\r\ncat\r\n\r\nowl",  # as Windows editors write it
        json.dumps(["dog", "cat", "owl"]),
        json.dumps({"2": "owl", "0": "dog", "1": "cat"}),
        json.dumps({"cat": 1, "dog": 0, "owl": 2}),  # torchvision's class_to_idx
    ],
    ids=["lines", "windows", "list", "by output", "by name"],
)
def test_every_kind_of_class_map(text, tmp_path):
    (tmp_path / "map").write_text(text, newline="")
    assert read_class_map(tmp_path / "map", 3) == ("dog", "cat", "owl")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dog\ncat\n", "has 2 names, but the head has 3 outputs"),
        ("dog\ncat\ndog\n", "'dog' more than once"),
        ('{"0": "dog", "1": "cat", "3": "owl"}', "every output from 0 once"),
        ('{"dog": 0, "cat": 0, "owl": 1}', "every output from 0 once"),
        ('{"dog": 0, "cat": true, "owl": 1}', "every output from 0 once"),
        ("[1, 2, 3]", "write a list of names"),
        ('["dog", ', "not JSON, though it begins like it"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_class_map_that_is_wrong_is_one_line(text, words, tmp_path):
    (tmp_path / "map").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_class_map(tmp_path / "map", 3)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_map_that_is_not_a_text_file(tmp_path):
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    for place, words in (
        (tmp_path, "that is a folder"),
        (tmp_path / "none", "no class map"),
        (tmp_path / "latin", "utf-8"),
    ):
        with pytest.raises(ConfigError, match=words):
            read_class_map(place, 1)
