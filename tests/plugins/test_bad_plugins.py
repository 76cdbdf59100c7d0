"""Plugins of third parties go wrong in many ways: each is named with its reason, and nothing else is affected."""

import json
import subprocess
import sys

import pytest

from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, PluginError
from tleg_cli.hookspecs import API_VERSION

HEAD = "from tleg_cli.hookspecs import Backbone, hookimpl\n"


def backbones(*items: str, head: str = "") -> str:
    return f"{HEAD}{head}\n@hookimpl\ndef tleg_backbones():\n    return [{', '.join(items)}]\n"


GOOD = backbones("Backbone('good', timm_name='vit_tiny_patch16_224')")


def report_of(name: str) -> plugin_manager.PluginReport:
    (report,) = [report for report in plugin_manager.survey() if report.name == name]
    return report


def error_of(name: str) -> str:
    error = report_of(name).error
    assert error is not None
    assert "\n" not in error
    return error


def test_a_good_plugin_is_there(publish):
    publish(GOOD, "mine")
    report = report_of("mine")
    assert (report.version, report.source, report.error) == ("1.5", "mine (mine_plugin)", None)
    assert report.hooks == {"tleg_backbones": ("good",)}
    assert plugin_manager.get_backbone("good").timm_name == "vit_tiny_patch16_224"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_module", ["ModuleNotFoundError", "no_such_module"]),
        ("raise RuntimeError('two\\nlines')", ["RuntimeError: two lines"]),
        ("import sys; sys.exit(3)", ["SystemExit: 3"]),
        ("def f(:", ["SyntaxError"]),
        ("", ["no hook", "@hookimpl"]),
        (f"{HEAD}def tleg_backbones():\n    return []", ["no hook"]),
        (f"{HEAD}@hookimpl\ndef tleg_backbone():\n    return []", ["unknown hook", "tleg_backbone"]),
        (f"{HEAD}@hookimpl\ndef tleg_backbones(what):\n    return []", ["tleg_backbones", "what"]),
        (f"{HEAD}@hookimpl\ndef tleg_backbones():\n    1 / 0", ["tleg_backbones", "ZeroDivisionError"]),
        (f"{HEAD}@hookimpl\ndef tleg_backbones():\n    pass", ["tleg_backbones", "NoneType"]),
        (f"{HEAD}@hookimpl\ndef tleg_backbones():\n    return 7", ["tleg_backbones", "int"]),
        (f"TLEG_API = {API_VERSION + 1}\n{GOOD}", ["hook version 2", "has 1", "update tleg"]),
        (f"TLEG_API = 'one'\n{GOOD}", ["TLEG_API is 'one'"]),
        (f"TLEG_API = True\n{GOOD}", ["TLEG_API is True"]),
        (f"TLEG_API = 0\n{GOOD}", ["TLEG_API is 0"]),
        (backbones("'vit'"), ["'vit' is not a Backbone"]),
        (backbones("Backbone"), ["is not a Backbone"]),
        (backbones("Backbone('a b', 'x')"), ["name of backbone 'a b'", "without spaces"]),
        (backbones("Backbone(7, 'x')"), ["name of backbone 7"]),
        (backbones("Backbone('b', '')"), ["timm_name", "timm.create_model"]),
        (backbones("Backbone('b', 'x', stages='blocks')"), ["stages", "'blocks'", "a tuple of different places"]),
        (backbones("Backbone('b', 'x', stages=())"), ["stages", "()"]),
        (backbones("Backbone('b', 'x', ('a', 'a'), usual_depth=(1, 1))"), ["stages", "different"]),
        (backbones("Backbone('b', 'x', ('a', 'a.0'), usual_depth=(1, 1))"), ["stages", "different"]),
        (backbones("Backbone('b', 'x', depth_argument='d e')"), ["depth_argument", "a keyword"]),
        (backbones("Backbone('b', 'x', usual_depth=12)"), ["usual_depth", "a tuple of integers from 1"]),
        (backbones("Backbone('b', 'x', usual_depth=(0,))"), ["usual_depth", "(0,)"]),
        (backbones("Backbone('b', 'x', usual_depth=(2, 2))"), ["2 values for 1 stages"]),
        (backbones("Backbone('b', 'x', arguments=[1])"), ["arguments", "a dict"]),
        (backbones("Backbone('b', 'x', options={'a b': 1})"), ["options", "keyword"]),
        (backbones("Backbone('b', 'x', options={'depth': 3})"), ["sets 'depth' twice"]),
        (backbones("Backbone('b', 'x', options={'num_classes': 3})"), ["sets 'num_classes' twice"]),
        (backbones("Backbone('b', 'x', arguments={'k': 1}, options={'k': 2})"), ["sets 'k' twice"]),
        (backbones("Backbone('b', 'x', head='head')"), ["head", "a tuple of names"]),
    ],
)
def test_a_broken_plugin_is_named_and_nothing_else_is_affected(publish, source, words):
    publish(source, "mine")
    publish(GOOD, "other")
    error = error_of("mine")
    for word in words:
        assert word in error
    assert report_of("other").error is None
    assert plugin_manager.get_backbone("good")
    assert plugin_manager.get_backbone("vit")
    with pytest.raises(ConfigError) as caught:
        plugin_manager.get_backbone("b")
    assert "backbone 'b' is unknown" in str(caught.value)
    assert "Plugin mine can't be used: " in str(caught.value)


@pytest.mark.parametrize("value", ["no_such_module", "mine_plugin:nothing", "mine plugin!", "json:loads"])
def test_an_entry_point_that_leads_nowhere_is_named(publish, value):
    publish(GOOD, "mine", value=value)
    assert error_of("mine")
    assert plugin_manager.get_backbone("vit")


HOOKS = [
    ("tleg_bases", "return ['linear']", "'linear' is not a Basis"),
    ("tleg_bases", "return [Basis('x', 2, lambda depth: torch.ones(depth, 3), (False, True))]", "of shape (1, 2)"),
    ("tleg_bases", "return [Basis('x', 1, lambda depth: torch.ones(depth, 1) / 0, (False,))]", "must be finite"),
    ("tleg_bases", "return [Basis('x', 1, lambda depth: [[1]], (False,))]", "of shape (1, 1)"),
    ("tleg_bases", "return [Basis('x', 1, lambda depth: 1 / 0, (False,))]", "ZeroDivisionError"),
    ("tleg_bases", "return [Basis('x', 2, lambda depth: torch.ones(depth, 2), (False,))]", "1 directions"),
    ("tleg_bases", "return [Basis('polynomial:9', 1, lambda depth: torch.ones(depth, 1), (False,))]", "without spaces"),
    ("tleg_sources", "return ['digits']", "not a pair (name, function)"),
    ("tleg_sources", "return [('x', 'y')]", "'y' is not a function"),
    ("tleg_sources", "return [('a/b', print)]", "not a pair"),
    ("tleg_sources", "return [('x', print, 3)]", "not a pair"),
    ("tleg_commands", "return [('x', print)]", "is not a Typer app"),
    ("tleg_commands", "return {'x': 1}", "not a pair (name, Typer app)"),
]


@pytest.mark.parametrize(("hook", "body", "words"), HOOKS)
def test_every_hook_is_checked(publish, hook, body, words):
    imports = "import torch\nfrom tleg_cli.learngene.basis import Basis\n" if hook == "tleg_bases" else ""
    publish(f"{HEAD}{imports}@hookimpl\ndef {hook}():\n    {body}", "mine")
    error = error_of("mine")
    assert error.startswith(f"{hook}: ")
    assert words in error
    assert (plugin_manager.bases(), plugin_manager.sources(), plugin_manager.get_command("x")) == ((), {}, None)


def test_a_broken_hook_leaves_the_plugins_other_hooks(publish):
    publish(f"{GOOD}@hookimpl\ndef tleg_sources():\n    return 'x'", "mine")
    report = report_of("mine")
    assert report.hooks == {"tleg_backbones": ("good",), "tleg_sources": ()}
    assert report.error is not None
    assert plugin_manager.get_backbone("good")


def test_a_hook_of_a_later_tleg_may_be_optional(publish):
    publish(f"{GOOD}\n@hookimpl(optionalhook=True)\ndef tleg_of_the_future():\n    return []", "mine")
    assert report_of("mine").error is None
    assert plugin_manager.get_backbone("good")


def test_doctor_tells_what_is_wrong_too(publish):
    from tleg_cli.inspect.machine import machine_facts

    publish(backbones("7"), "mine")
    assert machine_facts()["plugin mine"] == "tleg_backbones: 7 is not a Backbone"


def test_an_unknown_basis_names_the_plugins_that_may_have_had_it(publish):
    publish(f"{HEAD}@hookimpl\ndef tleg_bases():\n    1 / 0", "mine")
    assert plugin_manager.get_basis("linear").rank == 2
    with pytest.raises(
        ConfigError, match=r"basis 'linaer' is unknown\. Did you mean 'linear'\? Plugin mine can't be used"
    ):
        plugin_manager.get_basis("linaer")


def test_one_of_tlegs_own_backbones_cannot_be_taken(publish):
    publish(backbones("Backbone('vit', 'vit_base_patch16_224')"), "mine")
    with pytest.raises(PluginError, match=r"'vit' is defined by two plugins: tleg_cli\.plugins\.deit and mine"):
        plugin_manager.get_backbone("vit")


@pytest.mark.parametrize(
    ("hook", "name", "item"),
    [
        ("tleg_bases", "linear", "Basis('linear', 1, lambda d: torch.ones(d, 1), (False,))"),
        ("tleg_sources", "digits", "('digits', print)"),
        ("tleg_sources", "torch", "('torch', print)"),
        ("tleg_sources", "synthetic", "('synthetic', print)"),
    ],
)
def test_a_name_of_tlegs_own_cannot_be_taken(publish, hook, name, item):
    imports = "import torch\nfrom tleg_cli.learngene.basis import Basis\n"
    publish(f"{HEAD}{imports}@hookimpl\ndef {hook}():\n    return [{item}]", "mine")
    assert error_of("mine") == f"{hook}: '{name}' is a name of tleg itself; choose another"
    assert (plugin_manager.bases(), plugin_manager.sources()) == ((), {})


@pytest.mark.parametrize(
    ("hook", "item", "look"),
    [
        ("tleg_backbones", "Backbone('x', 'vit_tiny_patch16_224')", lambda: plugin_manager.get_backbone("x")),
        ("tleg_bases", "Basis('x', 1, lambda d: torch.ones(d, 1), (False,))", plugin_manager.bases),
        ("tleg_sources", "('x', print)", plugin_manager.sources),
        ("tleg_commands", "('x', typer.Typer())", lambda: plugin_manager.get_command("x")),
    ],
)
def test_two_plugins_that_define_one_name_are_both_named(publish, hook, item, look):
    imports = "import torch, typer\nfrom tleg_cli.learngene.basis import Basis\n"
    for name in ("mine", "other"):
        publish(f"{HEAD}{imports}@hookimpl\ndef {hook}():\n    return [{item}]", name)
    with pytest.raises(PluginError, match="'x' is defined by two plugins: mine and other; .* TLEG_LOAD_PLUGINS"):
        look()
    for name in ("mine", "other"):
        assert "defined by two plugins: mine and other" in error_of(name)
    assert plugin_manager.get_backbone("vit")


def test_the_names_that_are_tlegs_own_are_all_reserved():
    from tleg_cli.data.open_source import SUBSETS, TIMM_SCHEMES
    from tleg_cli.learngene.basis import basis_names

    assert set(plugin_manager.RESERVED["tleg_sources"]) == {"digits", "mnist5k", "synthetic", *SUBSETS, *TIMM_SCHEMES}
    assert set(plugin_manager.RESERVED["tleg_bases"]) == {name.partition(":")[0] for name in basis_names()}


def test_two_packages_that_publish_one_name(publish):
    publish(GOOD, "mine", package="first")
    publish(backbones("Backbone('better', 'vit_tiny_patch16_224')"), "mine", package="second")
    first, second = (report for report in plugin_manager.survey() if report.name == "mine")
    assert first.error is None
    assert second.error == "the name 'mine' is taken by first (first_plugin)"
    assert plugin_manager.get_backbone("good")
    with pytest.raises(ConfigError, match="Plugin mine can't be used: the name 'mine' is taken by first"):
        plugin_manager.get_backbone("better")


def test_one_module_under_two_names_is_loaded_once(publish):
    module = publish(GOOD, "mine")
    publish("", "other", value=module)
    assert "already registered" in error_of("other")
    assert plugin_manager.get_backbone("good")


@pytest.mark.parametrize(
    ("limit", "there"), [("", []), ("mine", ["mine"]), ("mine, other", ["mine", "other"]), (None, ["mine", "other"])]
)
def test_the_limit_is_kept(publish, monkeypatch, limit, there):
    publish(GOOD, "mine")
    publish("import no_such_module", "other")
    if limit is not None:
        monkeypatch.setenv("TLEG_LOAD_PLUGINS", limit)
    names = [report.name for report in plugin_manager.survey()]
    assert [name for name in names if not name.startswith("tleg_cli.")] == there
    assert "tleg_cli.plugins.deit" in names


def test_a_limit_that_names_nothing_installed_says_so(publish, monkeypatch):
    publish(GOOD, "mine")
    monkeypatch.setenv("TLEG_LOAD_PLUGINS", "mine,your")
    assert "no installed package" in error_of("your")
    assert report_of("mine").error is None


def test_a_limit_that_leaves_a_clash_out_solves_it(publish, monkeypatch):
    publish(GOOD, "mine")
    publish(GOOD, "other")
    monkeypatch.setenv("TLEG_LOAD_PLUGINS", "other")
    assert plugin_manager.get_backbone("good")


def test_built_in_plugins_load_without_torch():
    code = (
        "import json, sys; from tleg_cli import plugin_manager as p; names = list(p.backbones());"
        "print(json.dumps([len(names), sorted({'torch', 'timm', 'numpy', 'numba'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, heavy = json.loads(done.stdout)
    assert count > 20
    assert heavy == []
