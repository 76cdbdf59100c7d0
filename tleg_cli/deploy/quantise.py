"""An ONNX file in int8, by onnxruntime's static quantisation: weights per channel, ranges of activations from images."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tleg_cli.deploy.sample import Sample
from tleg_cli.deploy.write_onnx import quiet
from tleg_cli.models.onnx_network import INPUT

METHOD = "minmax"
KEPT = ("ends", "products")  # in float32: the first and the last layer, and the products of two activations
_QUANTISED = ("MatMul", "Gemm", "Conv")


def quantise(
    source: Path, target: Path, sample: Sample, *, method: str = METHOD, kept: Collection[str] = KEPT
) -> list[str]:
    """Writes `target`, `source` in int8; returns the names of the nodes that stay in float32.

    Fully connected layers and convolutions become int8, but for the first and the last, which lose the most and are small; the
    products of two activations inside attention stay too. benchmarks/int8.py compares `method` (minmax, percentile, entropy)
    and `kept`.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    excluded = _excluded(onnx.load(source).graph, kept)
    methods = {one.name.lower(): one for one in CalibrationMethod}
    with quiet():
        quantize_static(
            source,
            target,
            _Images(sample),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_exclude=excluded,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=methods[method],
        )
    return excluded


def _excluded(graph: Any, kept: Collection[str]) -> list[str]:
    weights = {one.name for one in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in _QUANTISED]
    layers = [node.name for node in nodes if weights & set(node.input)]
    ends = {*layers[:1], *layers[-1:]} if "ends" in kept else set()
    return [node.name for node in nodes if node.name in ends or ("products" in kept and node.name not in layers)]


class _Images:
    """The calibration images as onnxruntime asks for them, batch by batch."""

    def __init__(self, sample: Sample):
        self.batches: Iterator[NDArray[np.float32]] = (batch.numpy() for batch in sample.one_by_one())

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch; None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {INPUT: batch}
