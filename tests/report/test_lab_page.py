"""The page of `tleg lab` in a real browser."""

import pytest

from tests.lab.test_break_even import ALONE, DEPTHS, family
from tests.lab.test_results import rows_of
from tleg_cli.lab.latency import Latency
from tleg_cli.lab.protocol import Protocol
from tleg_cli.lab.results import lines_of
from tleg_cli.lab.study import make_study
from tleg_cli.report.lab_page import lab_page, verdict

PROTOCOL = Protocol(preset="digits", depths="3,6", seeds=(0, 1, 2), budget=36, methods=("distilled", "tleg"))


@pytest.fixture
def page(tmp_path):
    failed = {"method": "tleg", "depth": "6", "seed": 9, "status": "failed", "error": "<b>no</b> such weights"}
    rows = [*ALONE, *family("tleg", [80.0, 85.0], 85.0, source=100, start=40.0), failed]
    lines = lines_of(rows, ["distilled", "tleg"], DEPTHS)
    file = tmp_path / "page.html"
    file.write_text(
        lab_page(make_study(PROTOCOL, 1297), "digits", lines, rows, Latency("cpu", 1, {"3": 1e-3, "6": 2e-3}, 0.5))
    )
    return file


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)])
@pytest.mark.parametrize("dark", [False, True])
def test_it_renders_without_a_word_on_the_console(browser, page, width, phone, dark):
    browser.open(page, width, dark=dark, phone=phone)
    assert browser.errors == []
    assert browser.requests == [page.as_uri()]
    assert browser.run("document.documentElement.scrollWidth") <= width
    sections = browser.run("[...document.querySelectorAll('section')].map(s => s.id)")
    assert sections == ["table", "depth", "latency", "compute", "even", "failed"]
    assert "a processor for 50 % of the time, and these times are too long" in browser.run("document.body.innerText")
    light = browser.run("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")[0]
    assert (int(light) < 60) == dark


def test_a_screen_reader_gets_the_table(browser, page):
    browser.open(page)
    rows = browser.run("[...document.querySelectorAll('#table tbody tr')].map(r => [...r.cells].map(c => c.innerText))")
    assert [row[0] for row in rows] == ["distilled", "tleg"]
    assert rows[0][1] == "1"
    assert rows[1][1] == "2"
    assert rows[1][-3:-1] == ["40.0", "–"]
    assert browser.run("document.querySelectorAll('#table th[scope=row]').length") == 2
    assert browser.run("[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label'))")
    assert browser.run("document.querySelector('#failed li').innerText").endswith("<b>no</b> such weights")


def test_the_first_sentence_says_who_is_ahead_and_that_ties_are_ties():
    tie = lines_of(
        [*rows_of("a", 90.0, 91.0, 92.0), *rows_of("distilled", 90.2, 91.0, 91.8)], ["a", "distilled"], DEPTHS
    )
    assert verdict(tie).startswith("No method is better than")
    clear = lines_of(
        [*rows_of("a", 90.0, 91.0, 92.0), *rows_of("distilled", 80.0, 81.5, 82.0)], ["a", "distilled"], DEPTHS
    )
    assert verdict(clear).startswith("a is better than every other method. Separate networks")
    assert "fewer than three" in verdict(lines_of(rows_of("a", 90.0, 91.0), ["a"], DEPTHS))
