"""`tleg choose`: real measurements of a tiny learngene; what it costs and scores is what other commands say."""

import pytest

QUICK = ("--threads", 1, "--seconds", 0, "--device", "cpu")


def test_a_table_of_all_depths_and_no_choice_without_limits(tleg, made):
    done = tleg("choose", made.learngene, "--depths", "1-6", *QUICK, "--json")
    assert done.code == 0, done.err
    choice = done.json()
    assert (choice["engine"], choice["device"], choice["threads"], choice["batch_size"]) == ("torch", "cpu", 1, 1)
    assert choice["chosen"] is None
    entries = choice["depths"]
    assert [one["depth"] for one in entries] == ["1", "2", "3", "4", "5", "6"]
    assert [one["depth"] for one in entries if one["measured"]] == ["1", "3", "6"]
    fit = choice["fit"]
    for one in entries:
        assert one["predicted"] == pytest.approx(fit["fixed"] + fit["per_block"][0] * one["blocks"])
        assert one["latency"] == (one["measured"] or one["predicted"])
    from tleg_cli.learngene.file import read_learngene
    from tleg_cli.models.descendant import expanded_model

    network = expanded_model(read_learngene(made.learngene), (6,))
    assert entries[5]["parameters"] == sum(value.numel() for value in network.parameters())
    assert entries[5]["bytes"] == 4 * entries[5]["parameters"]


def test_accuracy_is_what_evaluate_says_and_the_front_is_drawn(tleg, made, tmp_path):
    plot = tmp_path / "front.png"
    done = tleg("choose", made.learngene, "--depths", "2,5", *QUICK, "--data", "digits", "--png", plot, "--json")
    assert done.code == 0, done.err
    entries = done.json()["depths"]
    scores = tleg("evaluate", made.learngene, "--depth", "2,5", "--data", "digits", "--json").json()["depths"]
    assert [one["top1"] for one in entries] == pytest.approx([one["top1"] for one in scores])
    for one in entries:
        better = [o for o in entries if o["latency"] < one["latency"] and o["top1"] > one["top1"]]
        assert not (one["front"] and better)
    assert plot.read_bytes().startswith(b"\x89PNG")
    floor = tleg("choose", made.learngene, "--depths", "2,5", *QUICK, "--data", "digits", "--accuracy", 99.9)
    assert floor.code == 1
    assert "the most accurate is depth" in floor.err


def test_limits_choose_the_deepest_and_the_next_command_works(tleg, made):
    entries = tleg("choose", made.learngene, "--depths", "2-4", *QUICK, "--json").json()["depths"]
    limit = f"{entries[1]['macs'] / 1e3 + 1:.0f}k"  # of depth 3
    done = tleg("choose", made.learngene, "--depths", "2-6", *QUICK, "--latency", "10s", "--macs", limit)
    assert done.code == 0, done.err
    assert "chosen: depth 3," in done.out
    assert "(measured)" in done.out  # a depth chosen for its latency is always measured
    assert f"next: tleg expand {made.learngene} --depth 3" in done.out


def test_a_latency_that_none_reaches_names_the_fastest(tleg, made):
    done = tleg("choose", made.learngene, "--depths", "2-6", *QUICK, "--latency", "1us")
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("error: no depth keeps --latency 0.001 ms: the fastest is depth ")
    assert len(done.out.splitlines()) >= 7  # the table is shown all the same


def test_every_depth_is_measured_if_that_is_asked_for(tleg, made):
    done = tleg("choose", made.learngene, "--depths", "1-5", *QUICK, "--check")
    assert done.code == 0, done.err
    assert "largest error of a prediction" in done.out
    assert not [line for line in done.out.splitlines() if line.startswith("4 ") and " - " in line]


@pytest.mark.slow
def test_onnxruntime_runs_what_export_writes(tleg, made):
    pytest.importorskip("onnxruntime")
    done = tleg("choose", made.learngene, "--depths", "2", *QUICK, "--engine", "onnxruntime", "--json")
    assert done.code == 0, done.err
    choice = done.json()
    assert (choice["engine"], choice["device"]) == ("onnxruntime", "cpu")
    assert all(one["measured"] > 0 for one in choice["depths"])
    gpu = tleg("choose", made.learngene, "--engine", "onnxruntime", "--device", "cuda")
    assert (gpu.code, "computes on the CPU" in gpu.err) == (1, True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_networks_of_more_depths_than_torch_keeps(tleg, made):
    options = ("--threads", 1, "--seconds", 0, "--device", "cpu", "--engine", "compile", "--check", "--json")
    done = tleg("choose", made.learngene, "--depths", "1-9", *options)
    assert done.code == 0, done.err
    assert all(one["measured"] > 0 for one in done.json()["depths"])
    assert "recompile_limit" not in done.err


def test_stages_have_total_depths_of_their_own(tleg, tmp_path):
    from tests.test_api import SWIN, learngene_of
    from tleg_cli.api import write_learngene

    write_learngene(learngene_of("swin_2_stages", SWIN, 16, (2, 4)), tmp_path / "swin.pt")
    done = tleg("choose", tmp_path / "swin.pt", "--depths", "1-2:2-5", *QUICK, "--json")
    assert done.code == 0, done.err
    choice = done.json()
    assert [one["depth"] for one in choice["depths"]][:3] == ["1:2", "1:3", "1:4"]
    assert len([one for one in choice["depths"] if one["measured"]]) == 4
    assert choice["fit"]["separate"]
    assert all(one["blocks"] == sum(map(int, one["depth"].split(":"))) for one in choice["depths"])
    usual = tleg("choose", tmp_path / "swin.pt", *QUICK, "--json").json()["depths"]
    assert [one["depth"] for one in usual] == ["2:1", "2:2", "2:3", "2:4"]


def test_a_folder_of_descendants(tleg, made, tmp_path):
    for depth in (2, 4):
        file = tmp_path / "des" / f"depth-{depth:02d}" / "model.safetensors"
        assert tleg("expand", made.learngene, "--depth", depth, "--out", file).code == 0
    done = tleg("choose", tmp_path / "des", *QUICK, "--data", "digits", "--json")
    assert done.code == 0, done.err
    entries = done.json()["depths"]
    learngene = tleg("choose", made.learngene, "--depths", "2,4", *QUICK, "--data", "digits", "--json").json()["depths"]
    for key in ("depth", "parameters", "macs", "top1"):
        assert [one[key] for one in entries] == [one[key] for one in learngene]
    missing = tleg("choose", tmp_path / "des", "--depths", "3", *QUICK)
    assert missing.code == 1
    assert "it has 2, 4" in missing.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--engine", "tensorrt"], "--engine 'tensorrt' is unknown"),
        (["--latency", "8"], "write 8ms"),
        (["--accuracy", "95"], "needs --data"),
        (["--depths", "6,6"], "more than once"),
        (["--seconds", "nan"], "--seconds nan"),
        (["--threads", "5000"], "processor core"),
    ],
)
def test_bad_options_are_one_line(tleg, made, options, words):
    done = tleg("choose", made.learngene, *options)
    assert done.code == 1
    assert words in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


def test_an_empty_folder_is_one_line(tleg, tmp_path):
    done = tleg("choose", tmp_path)
    assert (done.code, "has no networks" in done.err) == (1, True)
