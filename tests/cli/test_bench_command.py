"""`tleg bench`: every part is timed, the operations are those that `tleg plan` counts, and what limits is named."""

import subprocess
import sys

import pytest
import torch

from tests.cli.conftest import in_its_own_process
from tests.tiny import ALONE, Onlooker, as_options, tiny_config
from tleg_cli.errors import ConfigError
from tleg_cli.plan import bench
from tleg_cli.plan.bench_document import largest_batch, largest_batch_of
from tleg_cli.report.bench_table import judged, peak_of
from tleg_cli.training.step import take_step

TINY = ("--preset", "digits", "--device", "cpu", "--seconds", 0.01)


@pytest.fixture(scope="module")
def measured():
    options = as_options("aux.depth=2-4", "aux.batch_size=64")
    return in_its_own_process("bench", *TINY, "--data", "digits", *options, "--compare", "plain-timm", "--json").json()


def test_every_part_is_timed_and_rates_follow_from_the_times(measured):
    parts = {part["part"]: part for part in measured["parts"]}
    assert list(parts) == [
        "data", "augmentation", "teacher", "student", "step", "step with data", "plain timm step", "aux step, no teacher",
    ]  # fmt: skip
    for part in parts.values():
        assert part["images_per_second"] == pytest.approx(64 / (part["ms"] / 1e3))
    assert measured["ratio_to_plain"] == pytest.approx(
        parts["aux step, no teacher"]["ms"] / parts["plain timm step"]["ms"]
    )
    assert measured["limit"] in ("data", "augmentation", "teacher", "student")
    assert measured["compiled"] is False
    assert "mfu" not in measured  # of a processor no peak is known


def test_the_operations_are_those_that_plan_counts(tleg, measured, made):
    options = as_options("aux.depth=2-4", "aux.batch_size=64", "aux.epochs=1")
    plan = tleg("plan", "--preset", "digits", "--data", "digits", "--teacher", made.teacher, *options, "--json").json()
    assert measured["macs_per_image"] == pytest.approx(plan["aux"]["training_macs"] / plan["aux"]["images"], rel=1e-6)
    rate = next(part["images_per_second"] for part in measured["parts"] if part["part"] == "step")
    assert measured["operations_per_second"] == pytest.approx(2 * measured["macs_per_image"] * rate)


def test_without_data_and_teacher_random_images_are_used_and_said_to_be(tleg):
    done = tleg("bench", *TINY, *as_options("aux.distillation.alpha=0"))
    assert [line.split("  ")[0] for line in done.out.splitlines()[2:5]] == ["augmentation", "student", "step"]
    assert "limit: student" in done.out


def test_mfu_is_of_the_card_that_is_there():
    assert peak_of("NVIDIA H100 80GB HBM3") == ("NVIDIA H100", 989e12)
    assert peak_of("NVIDIA H100 PCIe") == ("NVIDIA H100 PCIe", 756e12)
    assert peak_of("NVIDIA L40S") == ("NVIDIA L40S", 362e12)
    assert peak_of("Quadro of 2031") is None
    parts = [{"part": part, "ms": 1.0, "images_per_second": rate} for part, rate in RATES.items()]
    made = judged({**FACTS, "parts": parts, "macs_per_image": 10**10, "device": "NVIDIA H100 80GB HBM3"})
    assert made["mfu"] == pytest.approx(2 * 1e10 * 2000 / 989e12)


RATES = {"data": 900.0, "augmentation": 5000.0, "teacher": 3000.0, "student": 4000.0, "step": 2000.0}
FACTS = {"workers": 8, "precision": "fp32", "compiled": False}


def test_advice_names_the_setting_for_each_thing_that_limits():
    parts = [{"part": part, "ms": 1.0, "images_per_second": rate} for part, rate in RATES.items()]
    made = judged({**FACTS, "parts": parts, "macs_per_image": 10**10, "device": "NVIDIA H100 80GB HBM3"})
    assert made["limit"] == "data"
    for setting in ("data.workers", "aux.precision=bf16", "aux.compile=true", "teacher.image_size", "auto_augment"):
        assert any(setting in line for line in made["advice"]), setting
    fast = [{**part, "images_per_second": 9000.0} if part["part"] == "data" else part for part in parts]
    assert judged({**FACTS, "parts": fast, "macs_per_image": 10**10, "device": "cpu"})["limit"] == "teacher"


def test_the_search_takes_real_steps_at_the_deepest_depth_until_one_has_no_memory(monkeypatch):
    """The card's memory is played by an error of torch in the step."""
    taken = []

    def step(job, state, batches, world):
        images, _ = next(iter(batches))
        taken.append((len(images), state.network.metadata.depth))
        if len(images) > 11:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return take_step(job, state, iter([(images, torch.zeros(len(images), dtype=torch.long))]), world)

    monkeypatch.setattr(bench, "take_step", step)
    look = Onlooker()
    config = tiny_config("aux.depth=2-4", "aux.gradient_checkpointing=true")
    assert largest_batch_of(config, ALONE, look) == 8
    assert [line for line in look.said if "trying" in line] == [f"trying {batch} images" for batch in (1, 2, 4, 8, 16)]
    assert set(taken) == {(batch, (4,)) for batch in (1, 2, 4, 8, 16)}

    def broken(*arguments):
        raise RuntimeError("shapes don't match")

    monkeypatch.setattr(bench, "take_step", broken)
    with pytest.raises(RuntimeError, match="shapes"):  # anything else isn't taken for too little memory
        largest_batch_of(config, ALONE, look)


LIMITED = """
import resource, sys
import torch
from tests.tiny import ALONE, Onlooker, tiny_config
from tleg_cli.plan.bench import bench
from tleg_cli.plan.bench_document import largest_batch_of
torch.set_num_threads(1)
options = "backbone.options={img_size: 64, patch_size: 4, embed_dim: 64, num_heads: 2}"
config = tiny_config(options, "data.image_size=64", "aux.distillation.alpha=0", "aux.batch_size=1")
in_memory = config.model_copy(update={"data": config.data.model_copy(update={"path": None})})
bench(in_memory, ALONE, Onlooker(), seconds=0.0, against_plain=False)  # loads the libraries
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
limit = 1024 * size + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(largest_batch_of(config, ALONE, Onlooker()))
"""


@pytest.mark.slow
def test_more_memory_finds_a_larger_batch():
    """A real limit, of the process's address space."""
    found = [
        int(
            subprocess.run(
                [sys.executable, "-c", LIMITED, megabytes], check=True, capture_output=True, text=True
            ).stdout
        )
        for megabytes in ("100", "400")
    ]
    assert 1 <= found[0] < found[1] < 4096


def test_the_largest_batch_is_a_power_of_two_that_fits():
    asked = []
    assert largest_batch(lambda batch: (asked.append(batch), batch <= 100)[1]) == 64
    assert asked == [1, 2, 4, 8, 16, 32, 64, 128]
    with pytest.raises(ConfigError, match="not even one image"):
        largest_batch(lambda batch: False)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--compare", "timm"), "write plain-timm"),
        (("--find-batch",), "this machine has none"),
        (("--compare", "plain-timm", "--set", "aux.accumulation=2"), "needs aux.accumulation = 1"),
        (("--set", "aux.depth=40000"), "from 1 to"),
    ],
)
def test_what_cant_be_measured_is_one_line(tleg, options, why):
    failed = tleg("bench", *TINY, *as_options(), *options)
    assert failed.code == 1
    assert why in failed.err
    assert "Traceback" not in failed.err
