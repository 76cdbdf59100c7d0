"""The page, in a real browser: it renders, sorts, filters and listens to keys, and asks nobody for anything."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

from tleg_cli.inspect.inspection import inspect_files
from tleg_cli.inspect.overview import InspectOptions
from tleg_cli.report.inspect_page import page, write_page

COLUMN = "[...document.querySelectorAll('.tensors thead th')].findIndex(th => th.textContent === '{}')"
VALUES = "[...document.querySelectorAll('.tensors tbody tr')].map(tr => tr.cells[{}].dataset.by)"


@pytest.fixture
def shown(files, tmp_path):
    document = inspect_files([files["trained"]], InspectOptions(bases=(), against=files["learngene"]))
    write_page(document, tmp_path / "page.html")
    return tmp_path / "page.html"


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
@pytest.mark.parametrize("dark", [False, True])
def test_it_renders_without_a_word_on_the_console(browser, shown, width, phone, dark):
    browser.open(shown, width, dark=dark, phone=phone)
    assert browser.errors == []
    assert browser.requests == [shown.as_uri()]  # nothing from anywhere else
    assert browser.run("document.documentElement.scrollWidth") <= width  # no sideways scrolling of the page itself
    sections = browser.run("[...document.querySelectorAll('section')].map(s => s.id.slice(3))")
    assert sections == ["overview", "linearity", "paths", "norms", "against", "histograms", "tensors"]
    assert browser.run("[...document.querySelectorAll('section')].every(s => s.offsetHeight > 50)")
    light = browser.run("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")[0]
    assert (int(light) < 60) == dark


def test_a_column_sorts_down_up_and_by_key(browser, shown):
    browser.open(shown)
    norm = browser.run(COLUMN.format("norm"))
    browser.run(f"document.querySelectorAll('.tensors thead th')[{norm}].querySelector('button').focus()")
    browser.press("Enter")
    down = [float(value) for value in browser.run(VALUES.format(norm))]
    assert down == sorted(down, reverse=True)
    browser.press("Enter")
    up = [float(value) for value in browser.run(VALUES.format(norm))]
    assert up == sorted(down)
    assert browser.run(f"document.querySelectorAll('.tensors thead th')[{norm}].ariaSort") == "ascending"
    browser.run("document.querySelector('.tensors thead button').click()")
    names = browser.run(VALUES.format(0))
    assert names[:2] == ["blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.weight"]
    assert names.index("blocks.2.norm1.weight") < names.index("blocks.10.norm1.weight")
    assert browser.errors == []


def test_what_there_is_not_stands_last_in_both_directions(browser, shown):
    browser.open(shown)
    layer = browser.run(COLUMN.format("layer"))
    for _ in range(2):
        browser.run(f"document.querySelectorAll('.tensors thead th')[{layer}].querySelector('button').click()")
        assert browser.run(VALUES.format(layer))[-1] == ""


def test_a_filter_by_keys(browser, shown):
    browser.open(shown)
    visible = "[...document.querySelectorAll('.tensors tbody tr')].filter(tr => !tr.hidden).length"
    everything = browser.run(visible)
    for key in ("/", *"qkv weight"):
        browser.press(key)
    assert browser.run("document.activeElement.value") == "qkv weight"
    assert browser.run(visible) == 12
    assert browser.run("document.querySelector('.count').value") == f"12 of {everything} tensors"
    browser.press("Escape")
    assert browser.run(visible) == everything


def test_the_basis_and_the_theme_are_chosen(browser, shown):
    browser.open(shown)
    heats = "[...document.querySelectorAll('.heat')].filter(one => !one.hidden).map(one => one.ariaLabel)"
    assert browser.run(heats) == ["R² of the linear basis"]
    browser.run("document.querySelector('.bases input:checked').focus()")
    browser.press("ArrowRight")
    assert browser.run(heats) == ["R² of the polynomial:2 basis"]
    browser.press("t")
    assert browser.run("document.documentElement.dataset.theme") == "dark"
    browser.press("t")
    assert browser.run("document.documentElement.dataset.theme") == "light"
    assert browser.errors == []


def test_everything_can_be_reached_by_tab(browser, shown):
    browser.open(shown)
    reached = set()
    for _ in range(80):
        browser.press("Tab")
        reached.add(browser.run("document.activeElement.className || document.activeElement.tagName"))
    assert {"skip", "theme", "filter", "BUTTON", "INPUT", "A"} <= reached


@pytest.mark.parametrize("name", ["learngene", "random", "other"])
@pytest.mark.parametrize("bases", [(), None], ids=["measured", "shapes"])
def test_every_kind_of_file_has_a_page(browser, files, tmp_path, name, bases):
    write_page(inspect_files([files[name], files["trained"]], InspectOptions(bases=bases)), tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('article').length") == 2


def test_names_are_text_and_never_markup(browser, tmp_path):
    evil = "</script><img src=http://example.com/x onerror=alert(1)><b>\"'"
    weights = {f"{evil}.blocks.{n}.weight": torch.randn(4, 4) for n in range(4)} | {evil: torch.tensor(float("nan"))}
    save_file(weights, tmp_path / "x.safetensors")
    write_page(inspect_files([tmp_path / "x.safetensors"], InspectOptions(bases=())), tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    assert browser.errors == []
    assert browser.requests == [(tmp_path / "page.html").as_uri()]
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert evil in browser.run(VALUES.format(0))


def test_odd_files_have_a_page(tmp_path):
    weights = {f"blocks.{n}.a.weight": torch.full((3, 3), 2.0) for n in range(3)}
    save_file(weights | {"none": torch.ones(0), "whole": torch.tensor([1, 2])}, tmp_path / "x.safetensors")
    save_file({}, tmp_path / "empty.safetensors")
    text = page(inspect_files([tmp_path / "x.safetensors", tmp_path / "empty.safetensors"], InspectOptions(bases=())))
    assert text.count("<article") == 2
    assert not re.search(r'[ML ]nan |: nan[;"]', text)  # in a path or a style


def test_it_stands_alone_and_is_small(shown):
    text = shown.read_text()
    assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text)
    assert "default-src 'none'" in text
    assert len(text) < 400_000


def test_a_filtered_document_is_shown_filtered(files):
    from tleg_cli.inspect.selection import selection_of

    document = selection_of(module="attn.*", layer="0-2").apply(
        inspect_files([files["trained"]], InspectOptions(bases=()))
    )
    assert len(json.loads(json.dumps(document))["files"][0]["tensors"]) == 6
    assert "mlp.fc1" not in page(document)
