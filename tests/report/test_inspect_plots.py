"""--png: a file for each drawing that a file of weights has something for."""

import pytest
from PIL import Image

from tleg_cli.errors import TlegError
from tleg_cli.inspect.inspection import inspect_files
from tleg_cli.inspect.overview import InspectOptions
from tleg_cli.report.inspect_plots import write_plots

KINDS = ["linearity", "trajectories", "norms", "histograms"]


def test_a_network_has_all_drawings(files, tmp_path):
    written = write_plots(inspect_files([files["trained"]], InspectOptions(bases=())), tmp_path / "png")
    assert [path.name for path in written] == [f"trained-{kind}.png" for kind in KINDS]
    for path in written:
        with Image.open(path) as image:
            assert len(image.convert("RGB").getcolors(1 << 24)) > 10, path
    assert sorted(path.name for path in (tmp_path / "png").iterdir()) == sorted(path.name for path in written)


def test_a_learngene_has_no_layers_to_draw(files, tmp_path):
    written = write_plots(inspect_files([files["learngene"]], InspectOptions(bases=())), tmp_path / "png")
    assert [path.name for path in written] == ["learngene-histograms.png"]


def test_files_of_one_name_do_not_overwrite_each_other(files, tmp_path):
    again = tmp_path / "more" / files["random"].name
    again.parent.mkdir()
    again.write_bytes(files["random"].read_bytes())
    written = write_plots(inspect_files([files["random"], again], InspectOptions(bases=())), tmp_path / "png")
    assert len({path.name for path in written}) == len(written) == 8


def test_a_folder_that_cannot_be_written_is_named(files, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TlegError, match="can't write"):
        write_plots(inspect_files([files["random"]], InspectOptions(bases=())), tmp_path / "file")
