"""A report in a real browser: it renders, asks no one for anything, and names from anywhere stay text."""

import json
import re

import pytest

from tleg_cli.report.curves import Line, chart, thinned, ticks
from tleg_cli.report.run_page import write_reports

HOSTILE = '<img src="http://evil.example/x.png" onerror="alert(1)">'


def write_run(folder, epochs=12, **identity):
    """The files that a training leaves, with names that are HTML."""
    folder.mkdir(parents=True)
    record = {"command": "train-aux", "depth": "6", "seed": 0, "backbone": {"name": HOSTILE}, "data": {"path": HOSTILE}}
    (folder / "run.json").write_text(json.dumps({**record, "classes": [HOSTILE, "b"], **identity}))
    (folder / "plan.json").write_text(json.dumps({"epochs": epochs, "steps_per_epoch": 10}))
    (folder / "config.yaml").write_text(f"data: '{HOSTILE}'\nseed: 0\n")
    lines = [
        {"epoch": number, "step": 10 * number, "loss": 2 / number, "val_loss": 2.5 / number, "top1": 50 + number,
         "ema_top1": 49.5 + number, "lr": 1e-3 / number, "images_per_second": 1000.0 + number, "data_wait": 0.02,
         "seconds": 1.5, "top1_at": {"3": 45 + number, "12": 48 + number}}
        for number in range(1, epochs + 1)
    ]  # fmt: skip
    if "start" in identity:
        lines.insert(0, {"epoch": 0, "step": 0, "top1": 50.5, "top1_at": {"3": 20.25, "12": 48.0}})
    steps = [{"kind": "step", "step": step, "loss": 3 / step, "lr": 1e-3} for step in range(1, 10 * epochs)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*steps, *lines]))
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One run, several compared, a family and an adoption."""
    root = tmp_path_factory.mktemp("runs")
    runs = [write_run(root / name, seed=seed) for seed, name in enumerate(("one", "<i>two<i>"))]
    for depth in (3, 6, 12):
        write_run(root / "des" / f"depth-{depth:02d}", command="train-des", depth=str(depth))
    write_reports(runs[:1])
    write_reports(runs, root / "both.html")
    write_reports([root / "des"])
    write_reports([write_run(root / "adopted", start="0123")])
    adopted = root / "adopted" / "report.html"
    return {
        "adopted": adopted,
        "one": runs[0] / "report.html",
        "both": root / "both.html",
        "family": root / "des" / "report.html",
    }


@pytest.mark.parametrize("kind", ["one", "both", "family", "adopted"])
@pytest.mark.parametrize(("width", "phone", "dark"), [(1280, False, False), (390, True, True)])
def test_it_renders_without_a_word_on_the_console(browser, pages, kind, width, phone, dark):
    browser.open(pages[kind], width, dark=dark, phone=phone)
    assert browser.errors == []
    assert browser.requests == [pages[kind].as_uri()]
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.scripts.length") == 0
    assert browser.run("document.images.length") == 0
    light = browser.run("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")[0]
    assert (int(light) < 60) == dark
    assert browser.run("[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().width > 200)")
    charts = browser.run("[...document.querySelectorAll('#curves figcaption b')].map(b => b.textContent)")
    assert {"Learning rate", "Images per second", "Waiting for data", "Top-1"} <= set(charts)


def test_tables_and_curves_can_be_read_out(browser, pages):
    for path in pages.values():
        browser.open(path)
        assert browser.run(
            "[...document.querySelectorAll('table')].every(t => t.caption && t.tHead && t.rows.length > 1)"
        )
        assert browser.run("[...document.querySelectorAll('th')].every(th => th.scope)")
        labels = browser.run("[...document.querySelectorAll('svg')].map(s => s.ariaLabel)")
        assert all(re.search(r" over (epochs|blocks): .+ from .+ to ", label) for label in labels)


def test_names_with_html_stay_text(browser, pages):
    browser.open(pages["one"])
    assert HOSTILE in browser.run("document.querySelector('.facts').innerText")
    assert HOSTILE in browser.run("document.querySelector('#configuration').textContent")
    assert "\nseed: 0" in browser.run("document.querySelector('pre').textContent")
    browser.open(pages["both"])
    assert "<i>two<i>" in browser.run("document.querySelector('#overview').innerText")
    for path in pages.values():
        text = path.read_text()
        assert HOSTILE not in text
        assert not re.search(
            r"<script|<[a-z]+[^<>]*\ssrc=|@import|url\(|href=\"(?!#|data:,|depth-\d\d/report\.html)", text
        )


def test_the_page_of_a_family_leads_to_those_of_its_members(browser, pages):
    browser.open(pages["family"])
    links = browser.run("[...document.querySelectorAll('#overview a')].map(a => a.getAttribute('href'))")
    assert links == ["depth-03/report.html", "depth-06/report.html", "depth-12/report.html"]
    assert all((pages["family"].parent / link).is_file() for link in links)


def test_the_page_of_an_adoption_shows_every_depth_before_and_after(browser, pages):
    browser.open(pages["adopted"])
    assert "tleg adopt" in browser.run("document.querySelector('.facts').innerText")
    cells = (
        "[...document.querySelectorAll('#depths tr')].map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    )
    assert browser.run(cells) == [
        ["depth", "before training", "after training"],
        ["3", "20.25 %", "57.00 %"],
        ["6", "50.50 %", "62.00 %"],
        ["12", "48.00 %", "60.00 %"],
    ]
    browser.open(pages["one"])
    assert browser.run(cells)[0] == ["depth", "one"]


def test_a_curve_goes_through_its_values():
    drawn = chart("Top-1", "%", [Line("a", [(0, 10.0), (5, 60.0), (10, 110.0)])], "epochs")
    (first, middle, last) = re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn["lines"][0]["path"])
    assert (float(first[0]), float(last[0])) == (drawn["left"], drawn["right"])
    assert float(middle[0]) == pytest.approx((float(first[0]) + float(last[0])) / 2, abs=0.1)
    assert float(middle[1]) == pytest.approx((float(first[1]) + float(last[1])) / 2, abs=0.1)
    at = {row["text"]: float(row["at"]) for row in drawn["rows"]}
    assert at["50"] > float(middle[1]) > at["100"]
    assert drawn["label"] == "Top-1 (%) over epochs: a from 10 to 110"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (95.8, 97.1, [96, 96.5, 97]), (1e-6, 2e-3, [5e-4, 1e-3, 1.5e-3, 2e-3])],
)
def test_ticks_are_round_values(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_a_flat_curve_and_none_are_no_error():
    assert chart("Top-1", "%", [Line("a", [(1, 5.0)])], "epochs")["lines"][0]["dots"]
    assert chart("Top-1", "%", [Line("a", [(1, 0.0), (2, 0.0)])], "epochs", from_zero=True)
    assert chart("Top-1", "%", [Line("a", [])], "epochs") is None


@pytest.mark.parametrize(
    ("scores", "first", "last"), [((96.8, 97.0), "96", "97.5"), ((100.0, 100.0), "98", "100"), ((0.0, 0.5), "0", "2")]
)
def test_an_axis_of_percent_does_not_enlarge_one_image(scores, first, last):
    rows = chart("Top-1", "%", [Line("a", list(enumerate(scores)))], "epochs")["rows"]
    assert (rows[0]["text"], rows[-1]["text"]) == (first, last)


def test_a_long_line_is_drawn_with_fewer_points_at_the_same_place():
    points = [(float(x), 2.0 * x + (-1) ** x) for x in range(100_001)]
    few = thinned(points)
    assert len(few) <= 600
    assert (few[0], few[-1]) == (points[0], points[-1])
    assert all(y == pytest.approx(2 * x, abs=1) for x, y in few)
    assert thinned(points[:600]) == points[:600]
