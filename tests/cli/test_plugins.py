"""`tleg plugins`, and commands that plugins bring."""

import json
import re
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from tleg_cli import __version__
from tleg_cli.cli import app
from tleg_cli.hookspecs import API_VERSION

HEAD = "import typer\nfrom tleg_cli.hookspecs import Backbone, hookimpl\n"
GREET = f"""{HEAD}
app = typer.Typer()

@app.command()
def greet(name: str = typer.Argument(help="Whom to greet.")):
    '''Greet somebody.'''
    if name == "nobody":
        from tleg_cli.errors import ConfigError
        raise ConfigError("nobody is there")
    typer.echo(f"hello {{name}}")

@hookimpl
def tleg_commands():
    return [("greet", app)]
"""


def tleg(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tleg_cli", *arguments], capture_output=True, text=True)


def listed() -> dict[str, dict[str, object]]:
    done = CliRunner().invoke(app, ["plugins", "--json"])
    assert done.exit_code == 0
    content = json.loads(done.stdout)
    assert content["hook_version"] == API_VERSION
    return {plugin["name"]: plugin for plugin in content["plugins"]}


def test_json_tells_name_version_hooks_and_where_from(publish):
    publish(GREET, "mine", package="my-package")
    assert listed()["mine"] == {
        "name": "mine",
        "version": "1.5",
        "source": "my-package (my_package_plugin)",
        "hooks": {"tleg_commands": ["greet"]},
        "error": None,
    }
    built_in = listed()["tleg_cli.plugins.deit"]
    assert (built_in["version"], built_in["source"]) == (__version__, "built in")
    assert "vit" in built_in["hooks"]["tleg_backbones"]


def test_the_table_tells_the_same(publish):
    publish(GREET, "mine")
    publish("import no_such_module", "broken")
    done = CliRunner().invoke(app, ["plugins"])
    assert done.exit_code == 0
    assert re.search(r"^mine +1\.5 +tleg_commands +mine \(mine_plugin\)$", done.stdout, re.MULTILINE)
    assert re.search(r"^broken +ModuleNotFoundError: No module named 'no_such_module'$", done.stdout, re.MULTILINE)
    assert re.search(r"^greet +command +mine$", done.stdout, re.MULTILINE)
    assert re.search(r"^vit +backbone +tleg_cli\.plugins\.deit$", done.stdout, re.MULTILINE)


def test_a_plugin_that_prints_does_not_spoil_the_json(publish):
    publish(f"print('hello')\n{GREET.replace('return', 'print(1); return')}", "mine")
    done = tleg("plugins", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)
    assert done.stderr.split() == ["hello", "1"]


def test_a_reason_is_shown_as_it_is(publish):
    publish("raise RuntimeError('[/bold] [red]x :smile:')", "broken")
    done = CliRunner().invoke(app, ["plugins"])
    assert done.exit_code == 0
    assert "RuntimeError: [/bold] [red]x :smile:" in done.stdout


def test_the_limit(publish, monkeypatch):
    publish(GREET, "mine")
    monkeypatch.setenv("TLEG_LOAD_PLUGINS", "")
    assert "mine" not in listed()
    done = tleg("greet", "you")
    assert done.returncode == 2
    assert "No such command 'greet'" in done.stderr


def test_a_plugins_command_runs(publish):
    publish(GREET, "mine")
    done = tleg("greet", "you")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello you\n", "")
    assert "Whom to greet" in tleg("greet", "--help").stdout
    assert tleg("greet").returncode == 2


def test_its_error_is_one_line(publish):
    publish(GREET, "mine")
    done = tleg("greet", "nobody")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: nobody is there\n")


def test_an_unknown_command_names_the_plugins_that_may_have_had_it(publish):
    publish(GREET, "mine")
    publish("import no_such_module", "broken")
    done = tleg("plugin")
    assert done.returncode == 2
    assert "Plugin broken can't be used: ModuleNotFoundError" in done.stderr
    assert "Did you mean 'plugins'" in done.stderr


def test_a_command_of_tlegs_own_cannot_be_taken(publish):
    publish(GREET.replace('("greet", app)', '("greet", app), ("expand", app)'), "mine")
    plugin = listed()["mine"]
    assert plugin["error"] == "tleg_commands: 'expand' is a name of tleg itself; choose another"
    assert "learngene" in tleg("expand", "--help").stdout
    done = tleg("greet", "you")
    assert done.returncode == 2
    assert "'expand' is a name of tleg itself" in done.stderr


def test_two_that_claim_one_command_are_both_named(publish):
    publish(GREET, "mine")
    publish(GREET, "other")
    done = tleg("greet", "you")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: 'greet' is defined by two plugins: mine and other;")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["plugins", "--help"], ["train-aux", "--help"]], ids=" ".join
)
def test_help_loads_no_plugin(publish, arguments):
    publish("import pathlib, sys\nsys.exit('loaded')", "mine")
    publish(f"import time\ntime.sleep(30)\n{GREET}", "slow")
    began = time.perf_counter()
    done = tleg(*arguments)
    assert time.perf_counter() - began < 20
    assert done.returncode == 0
    assert "loaded" not in done.stdout + done.stderr


def test_completion_loads_no_plugin(publish):
    publish(f"import time\ntime.sleep(30)\n{GREET}", "slow")
    code = "import sys; sys.argv = ['tleg']; from tleg_cli.cli import main; main()"
    import os

    shell = {"_TLEG_COMPLETE": "complete_bash", "COMP_WORDS": "tleg gre", "COMP_CWORD": "1"}
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], capture_output=True, env={**os.environ, **shell})
    assert time.perf_counter() - began < 20
