"""Installed plugins for tests: a module and the metadata that a package would have."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tleg_cli import plugin_manager

# no deadline: the first example includes imports, and the machine may be busy
settings.register_profile("tleg", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tleg")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


def forget_plugins() -> None:
    """The next look-up loads the plugins again."""
    plugin_manager.load.cache_clear()
    plugin_manager.offers.cache_clear()


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """publish(source, name): a package that publishes the plugin `name`, for this process and those it starts."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    monkeypatch.delenv(plugin_manager.LIMIT, raising=False)
    modules: list[str] = []

    def make(source: str, name: str = "mine", *, package: str | None = None, value: str | None = None) -> str:
        module = f"{(package or name).replace('-', '_')}_plugin"
        (site / f"{module}.py").write_text(source)
        info = site / f"{(package or name).replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package or name}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[tleg]\n{name} = {value or module}\n")
        modules.append(module)
        forget_plugins()
        return module

    yield make
    for module in modules:
        sys.modules.pop(module, None)
    forget_plugins()
