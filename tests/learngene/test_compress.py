"""A learngene in fewer values: what is written is what is read, the size that was asked for, and nothing better at that size."""

import json
from dataclasses import replace
from itertools import product

import pytest
import torch
from safetensors.torch import load_file

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.compress import compress, halved
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import read_learngene, write_learngene

QKV, KERNEL = "blocks.*.attn.qkv.weight", "blocks.*.conv_dw.weight"


@pytest.fixture
def wide(make_learngene):
    """Four thetas of a matrix (12, 16) and of a kernel (8, 1, 3, 3), and the vectors of the fixture."""
    gene = make_learngene("piecewise:4", (4,))
    random = torch.Generator().manual_seed(1)
    sizes = torch.tensor([4.0, 1.0, 1.0, 0.1])[:, None, None]
    theta = {
        **gene.theta,
        QKV: torch.randn(4, 12, 16, generator=random) * sizes,
        KERNEL: torch.randn(4, 8, 1, 3, 3, generator=random),
    }
    return replace(gene, theta=theta)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_a_file_gives_what_was_compressed_in_at_most_the_values_that_were_asked_for(wide, tmp_path, keep, half, suffix):
    total = wide.parameters()
    made = compress(halved(wide) if half else wide, keep)
    write_learngene(made.learngene, tmp_path / f"gene{suffix}", made.low_rank)
    read = read_learngene(tmp_path / f"gene{suffix}")
    assert read.theta.keys() == wide.theta.keys()
    for name, theta in wide.theta.items():
        assert torch.equal(read.theta[name], made.learngene.theta[name])
        assert read.theta[name].shape == theta.shape
        assert read.theta[name].dtype == (torch.float16 if half else torch.float32)
        if theta.ndim < 3:
            assert torch.equal(read.theta[name], theta.half() if half else theta), "a vector is kept"
    assert all(torch.equal(one, expand(made.learngene, 3)[name]) for name, one in expand(read, 3).items())
    if suffix == ".safetensors":
        stored = sum(tensor.numel() for tensor in load_file(tmp_path / "gene.safetensors").values())
        assert stored == read.stored == made.learngene.stored
        assert keep * total - 12 - 16 < stored <= keep * total


def test_no_other_ranks_of_the_same_size_are_nearer(wide):
    """By trying them all: of the matrix, with the kernel as it is."""
    gene = replace(wide, theta={name: theta for name, theta in wide.theta.items() if name != KERNEL})
    made = compress(gene, 0.6)
    ranks = made.low_rank[QKV].ranks
    assert len(set(ranks)) > 1  # the thetas differ in size, and so do their ranks
    residual = gene.theta[QKV].double() - gene.theta[QKV].double().mean(0)
    energy = torch.linalg.svdvals(residual).square()
    best = max(
        sum(float(values[:rank].sum()) for values, rank in zip(energy, other, strict=True))
        for other in product(range(13), repeat=4)
        if sum(other) == sum(ranks)
    )
    assert made.kept == pytest.approx(best / float(energy.sum()), rel=1e-5)
    left = (made.learngene.theta[QKV].double() - gene.theta[QKV]).square().sum() / energy.sum()
    assert float(left) == pytest.approx(1 - made.kept, rel=1e-3)


def test_residuals_that_are_of_low_rank_are_kept_exactly(wide):
    random = torch.Generator().manual_seed(2)
    mean = torch.randn(12, 16, generator=random)
    one = torch.randn(4, 12, 1, generator=random) @ torch.randn(4, 1, 16, generator=random)
    gene = replace(wide, theta={QKV: mean + one - one.mean(0)})
    made = compress(gene, 0.99)
    assert made.kept == pytest.approx(1)
    assert torch.allclose(made.learngene.theta[QKV], gene.theta[QKV], atol=1e-5)


def test_where_factors_would_take_more_than_the_matrix_it_is_kept(wide):
    made = compress(wide, 0.97)
    names = [name for name in (QKV, KERNEL) if name not in made.low_rank]
    assert names
    for name in names:
        assert made.learngene.theta[name] is wide.theta[name]


@pytest.mark.parametrize("keep", [0, 1, -0.5, 1.5, float("nan")])
def test_a_share_that_cant_be_is_refused(wide, keep):
    with pytest.raises(ConfigError, match="a share between 0 and 1"):
        compress(wide, keep)


def test_a_share_that_is_too_small_is_refused_with_the_smallest_one(wide):
    with pytest.raises(
        ConfigError, match=r"keep 0\.05 .* can't be compressed takes .*; keep at least 0\.\d+"
    ) as caught:
        compress(wide, 0.05)
    smallest = float(str(caught.value).rpartition(" ")[2])
    made = compress(wide, smallest)
    assert made.low_rank[QKV].ranks == (0, 0, 0, 0)
    assert torch.equal(made.learngene.theta[QKV][0], made.learngene.theta[QKV][3])
    with pytest.raises(ConfigError, match="can't be compressed"):
        compress(wide, smallest - 0.001)


def test_one_theta_has_nothing_to_compress(make_learngene):
    with pytest.raises(ConfigError, match="can't be compressed"):
        compress(make_learngene("constant"), 0.9)


def test_float16_refuses_what_it_cant_hold_and_leaves_whole_numbers_alone(wide):
    gene = replace(wide, shared={**wide.shared, "index": torch.arange(3)})
    assert halved(gene).shared["index"].dtype == torch.int64
    large = replace(wide, shared={"head.weight": torch.full((10, 2), 70_000.0)})
    with pytest.raises(ConfigError, match=r"head\.weight has values above 65504"):
        halved(large)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"low_rank": 3}, "low_rank 3"),
        ({"low_rank": {QKV: []}}, "lists of 1 to 64 ranks"),
        ({"low_rank": {QKV: [1] * 65}}, "lists of 1 to 64 ranks"),
        ({"low_rank": {QKV: [1, -1, 1, 1]}}, "lists of 1 to 64 ranks"),
        ({"low_rank": {QKV: [1, True, 1, 1]}}, "lists of 1 to 64 ranks"),
        ({"low_rank": {QKV: [1, 1, 1, 1]}}, "need"),
        ({"low_rank": {"blocks.*.x": [1]}}, "mean/blocks.*.x is missing"),
        ({"low_rank": {}}, "belongs neither to theta nor to shared"),
        ({"mean": {QKV: torch.zeros(16)}}, "should be matrices"),
        ({"mean": {QKV: torch.zeros(12, 16, dtype=torch.float64)}}, "should be matrices"),
        ({"mean": {QKV: torch.zeros(12, 15)}}, "need"),
        ({"mean": {QKV: torch.full((12, 16), float("nan"))}}, "holds NaN or Inf"),
        ({"left": {}}, f"left/{QKV} is missing"),
        ({"right": None}, "right is not a table of tensors"),
        ({"theta": {QKV: torch.zeros(4, 12, 16)}}, "both complete and in parts"),
        ({"format_version": 1, "low_rank": None}, "belongs neither to theta nor to shared"),
    ],
)  # fmt: skip
def test_files_whose_parts_dont_fit_are_refused_in_one_line(wide, tmp_path, change, words):
    gene = replace(wide, theta={QKV: wide.theta[QKV]})
    made = compress(gene, 0.8)
    write_learngene(made.learngene, tmp_path / "gene.pt", made.low_rank)
    content = torch.load(tmp_path / "gene.pt", weights_only=True)
    torch.save({**content, **change}, tmp_path / "gene.pt")
    with pytest.raises(FileFormatError) as caught:
        read_learngene(tmp_path / "gene.pt")
    assert words in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_part_is_noticed(wide, tmp_path):
    made = compress(wide, 0.8)
    write_learngene(made.learngene, tmp_path / "gene.safetensors", made.low_rank)
    data = bytearray((tmp_path / "gene.safetensors").read_bytes())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    data[8 + size + header[f"left/{QKV}"]["data_offsets"][0]] ^= 1
    (tmp_path / "gene.safetensors").write_bytes(data)
    with pytest.raises(FileFormatError, match=r"left/blocks\.\*\.attn\.qkv\.weight.*checksum is wrong"):
        read_learngene(tmp_path / "gene.safetensors")
