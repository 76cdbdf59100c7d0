"""What int8 costs with each way to find its ranges, and with more or fewer layers in float32.

    python -m benchmarks.int8 runs/quickstart/aux/learngene.pt digits 3,6,12

Prints, on the validation images, top-1, how often the choice is the network's, and the largest difference of a logit.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tleg_cli.deploy.compare_export import compare
from tleg_cli.deploy.quantise import KEPT, quantise
from tleg_cli.deploy.sample import data_sample
from tleg_cli.deploy.write_onnx import write_onnx
from tleg_cli.models.onnx_network import OnnxNetwork
from tleg_cli.training.evaluate_file import Evaluation, open_scored

VARIANTS = [("minmax", KEPT), ("minmax", ("products",)), ("minmax", ()), ("percentile", KEPT), ("entropy", KEPT)]
CALIBRATION, COMPARED = 128, 500  # images


def main(model: str, data: str, depths: str) -> None:
    """One table."""
    opened = open_scored(Evaluation(Path(model), data, depths))
    print(
        f"{'depth':>5}  {'ranges':<10}  {'in float32':<14}  {'float top-1':>11}  {'int8':>6}  {'agree':>6}  {'logits':>6}"
    )
    with TemporaryDirectory() as folder:
        full, small = Path(folder) / "full.onnx", Path(folder) / "int8.onnx"
        images, ranges = (
            data_sample(opened.card, data, split, most, model, print)
            for split, most in (("val", COMPARED), ("train", CALIBRATION))
        )
        for depth, build in opened.networks.items():
            network = build().eval()
            write_onnx(network, opened.card, full)
            for method, kept in VARIANTS:
                quantise(full, small, ranges, method=method, kept=kept)
                found = compare(network, OnnxNetwork(small), images)
                top1 = found["top1"]
                print(
                    f"{depth:>5}  {method:<10}  {', '.join(kept) or '-':<14}  {top1['network']:>11.1f}  {top1['file']:>6.1f}  "
                    f"{found['agreement']:>6.1f}  {found['largest_difference']:>6.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
