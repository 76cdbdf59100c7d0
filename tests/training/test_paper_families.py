"""Every network of the paper takes two steps of its own recipe at 224 pixels: JPEG through FFCV, the loop that users run."""

import json
import math
import shutil
import tempfile
from pathlib import Path

import pytest
import timm
import torch

from tests.data.conftest import picture, prepare
from tests.tiny import ALONE, Onlooker
from tleg_cli.config_file import load_config
from tleg_cli.data.open import describe
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.training.evaluate import has_units_for
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_descendants import train_descendants

pytest.importorskip("ffcv.libffcv", reason="no FFCV build on this machine")

CLASSES = 2
TWO_STEPS = ("epochs=1", "batch_size=2", "warmup_epochs=0")
DEPTHS = {"tiny": "3,6,9,12", "small": "3-12", "base": "3-12"}


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    """Four images to train and two to score, 500 x 375 pixels, as JPEG in betons."""
    root = tmp_path_factory.mktemp("jpegs")
    for split, count in (("train", 2), ("val", 1)):
        for label in range(CLASSES):
            folder = root / split / f"class-{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                picture(10 * label + number, 500, 375).save(folder / f"{number}.jpg", quality=90)
    return prepare(root, root / "betons", write_mode="jpg", max_resolution=256)


@pytest.fixture(scope="module")
def levit(tmp_path_factory):
    """levit_384 as a file, with weights that were never trained."""
    file = tmp_path_factory.mktemp("teacher") / "levit_384.pth"
    torch.manual_seed(0)
    torch.save({"model": timm.create_model("levit_384", num_classes=CLASSES).state_dict()}, file)
    return file


@pytest.fixture
def roomy(tmp_path):
    """A folder for gigabytes of checkpoints, each of which waits for the disk: in memory, where that has room."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < 6e9:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="tleg-test-", dir=memory) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", DEPTHS)
def test_a_family_takes_two_steps(name, jpegs, levit, roomy):
    settings = [f"{section}.{value}" for section in ("aux", "descendant") for value in TWO_STEPS]
    if name == "base":  # its averages are 3.5 GB of checkpoints more, and the same code
        settings += ["aux.ema_decay=null", "descendant.ema_decay=null"]
    if not has_units_for("bf16"):  # the recipe's: on such a processor it would take an hour
        settings += ["aux.precision=fp32", "descendant.precision=fp32"]
    settings += ["data.workers=1", "descendant.per_depth={}", "aux.allow_bad_teacher=true"]  # it is not trained
    config = load_config(name, settings, data__path=str(jpegs), teacher__weights=str(levit))
    assert describe(config.data).kind == "ffcv"
    assert config.augmentation.auto_augment == "rand-m9-mstd0.5-inc1"

    aux = train_aux(config, roomy / "aux", ALONE, Onlooker())
    assert aux["plan"]["steps_per_epoch"] * aux["plan"]["epochs"] == 2
    gene = roomy / "aux" / "learngene.pt"
    for depth in parse_depths(DEPTHS[name]):
        onlooker = Onlooker()
        family = train_descendants(config, gene, [depth], roomy / "des", ALONE, onlooker)
        assert onlooker.steps == [1, 2]
        assert all(map(math.isfinite, onlooker.losses))
        summary = json.loads((roomy / "des" / f"depth-{depth[0]:02d}" / "summary.json").read_text())
        timms = timm.create_model(
            f"deit_{name}_patch16_224", depth=depth[0], num_classes=CLASSES, class_token=False, global_pool="avg"
        )
        assert summary["parameters"] == sum(parameter.numel() for parameter in timms.parameters())
        assert family["descendants"][0]["zero_epoch_top1"] >= 0
        shutil.rmtree(roomy / "des")
