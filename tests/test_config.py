"""Configs: every mistake is named, all at once, and nothing is ignored."""

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tleg_cli.config_file import dump_yaml, load_config, preset_names, read_yaml
from tleg_cli.errors import ConfigError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_survives_being_saved(name, tmp_path):
    config = load_config(name)
    saved = tmp_path / "config.yaml"
    saved.write_text(dump_yaml(config))
    assert load_config(str(saved)) == config


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_opens_with_what_it_is_for(name):
    from tleg_cli.config_file import preset_text

    head = preset_text(name)
    assert head.startswith("# ")
    for word in ("# Paper:", "# For:", "# Not for:", "# Cost:"):
        assert word in head
    command = {"adopt": "tleg adopt", "fine-tune": "tleg train-des"}.get(name, "tleg train-aux")
    assert command + ("" if name == "adopt" else f" --preset {name}") in head


def test_set_overrides_one_value():
    config = load_config("digits", ["aux.epochs=3", "aux.lr=1e-4", "augmentation.crop_scale=[0.5, 1]"])
    assert (config.aux.epochs, config.aux.lr, config.augmentation.crop_scale) == (3, 1e-4, (0.5, 1.0))


@pytest.mark.parametrize("text", ["6", "2:2:6:2", "2:4", "1:1", "12:30:45", "3:59:59"])
def test_a_depth_needs_no_quotes(text, tmp_path):
    """YAML 1.1 would read 2:2:6:2 as a number to the base 60."""
    assert load_config("digits", [f"aux.depth={text}"]).aux.depth == text
    assert load_config("digits", [f"descendant.depths={text}"]).descendant.depths == text
    file = tmp_path / "config.yaml"
    file.write_text(dump_yaml(load_config("digits", [f"aux.depth={text}"])))
    assert load_config(str(file)).aux.depth == text


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("1", 1.0), ("0.5", 0.5), ("+.5", 0.5), ("1_0.0", 10.0)])
def test_numbers_are_still_numbers(text, value):
    assert load_config("digits", [f"aux.lr={text}"]).aux.lr == value


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["aux.depth=true"], ["aux.depth = True"]),
        (["aux.depth=2:0:6:2"], ["a depth is a number from 1"]),
        (["aux.epoch=3"], ["unknown key aux.epoch", "Did you mean 'epochs'"]),
        (["axu.epochs=3"], ["unknown key axu", "'aux'"]),
        (["aux.epochs=three"], ["aux.epochs = 'three'"]),
        (["aux.epochs=-1", "aux.lr=0", "seed=x"], ["aux.epochs = -1", "aux.lr = 0", "seed = 'x'"]),
        (["aux.epochs"], ["section.key=value"]),
        (["aux.lr=.nan"], ["aux.lr"]),
        (["aux.lr=.inf"], ["aux.lr"]),
        (["aux.reference_depth='3,6'"], ["names 2 networks"]),
        (["descendant.depths=12-3"], ["12-3 runs backwards"]),
        (["descendant.depths='3,,6'"], ["a depth is missing"]),
        (["descendant.per_depth={6: {epohcs: 3}}"], ["epohcs"]),
        (["aux.lr.x=1"], ["aux.lr.x", "lr is a value"]),
        (["data.std=[0, 1, 1]"], ["data.std"]),
        (["seed=[1"], ["--set seed=[1"]),
        (["a=&x [*x]"], ["aliases"]),
        (["seed=!!python/object/apply:os.system ['true']"], ["python/object"]),
        (["seed=!!int ''"], ["the tag !!int is not allowed"]),  # PyYAML: IndexError
        (["aux.ema_decay=!!bool x"], ["the tag !!bool"]),  # KeyError
        (["aux.lr=!!timestamp x"], ["the tag !!timestamp"]),  # AttributeError
        (["aux.lr=! 3"], ["the tag !"]),
    ],
)
def test_mistakes_are_named(settings, words):
    with pytest.raises(ConfigError) as caught:
        load_config("digits", settings)
    for word in words:
        assert word in str(caught.value)


def test_a_key_that_is_there_twice_is_refused():
    with pytest.raises(ConfigError, match="there twice"):
        read_yaml("a: 1\na: 2", "here")


@pytest.mark.parametrize(
    "text",
    ["a: " + "9" * 90_000, "a: 0x" + "f" * 90_000, "a: !!int '0b" + "1" * 90_000 + "'", "a: &x [1]\nb: [*x, *x]",
     "[" * 90_000, "{a: " * 20_000, "a: 1\n" * 30_000],
    ids=["digits", "hex", "binary", "aliases", "lists", "tables", "long"],
)  # fmt: skip
def test_yaml_that_would_take_minutes_or_gigabytes_is_one_line(text):
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, "here")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert time.monotonic() - started < 10


def test_a_device_is_not_a_config():
    with pytest.raises(ConfigError, match="a device or a pipe"):
        load_config("/dev/zero")


def test_unknown_preset_suggests_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'digits'"):
        load_config("digit")


@given(st.text(max_size=60))
def test_no_setting_makes_anything_but_a_config_or_an_error(text):
    try:
        load_config("digits", [text])
    except ConfigError as error:
        assert "\n" not in str(error)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_no_section_makes_anything_but_a_config_or_an_error(value):
    try:
        load_config("digits", [f"aux={yaml.safe_dump(value)}"])
    except ConfigError:
        pass


def test_what_is_set_for_all_descendants_holds_for_every_depth():
    assert load_config("small").descendant.recipe_at("11").epochs == 45
    for settings, expected in (
        (["descendant.epochs=1"], (1, 1)),
        (["descendant.lr=1e-3"], (35, 45)),
        (["descendant.epochs=1", "descendant.per_depth.11.epochs=2"], (1, 2)),
    ):
        section = load_config("small", settings).descendant
        assert (section.recipe_at("10").epochs, section.recipe_at("11").epochs) == expected


def test_layer_decay_is_for_networks_with_layers():
    with pytest.raises(ConfigError, match=r"aux\.layer_decay = 0\.5: the blocks of an aux net share one learngene"):
        load_config("small", ["aux.layer_decay=0.5"])
    assert load_config("small", ["descendant.layer_decay=0.5"]).descendant.recipe_at("3").layer_decay == 0.5
