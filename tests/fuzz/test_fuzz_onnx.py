"""Files of `tleg export`, damaged or forged: refused in one line, or a network that gives logits of the right shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from tests.fuzz.hostile import A_FEW_AND_MANY, Target, damaged, feed, written
from tests.fuzz.mutate import mutated
from tleg_cli.models.descendant import descendant_card
from tleg_cli.models.onnx_network import metadata_values, open_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SIZE, CLASSES = 8, 10


def small_file(gene: Any) -> bytes:
    """A matrix in place of a network: what is read is the container, its metadata and its shapes."""
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    matrix = np.random.default_rng(0).normal(size=(3 * SIZE * SIZE, CLASSES)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["images"], ["flat"]), helper.make_node("MatMul", ["flat", "matrix"], ["logits"])],
        "network",
        [helper.make_tensor_value_info("images", number, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", number, ["batch", CLASSES])],
        [onnx.numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    card = descendant_card(gene, (2,), CLASSES, [f"class {one}" for one in range(CLASSES)], 0.9, training={})
    helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata_values(card).items()})
    return bytes(model.SerializeToString())


def use(path: Path) -> None:
    """As `tleg predict` and `tleg evaluate` do."""
    opened = open_onnx(path)
    size = opened.card.input.image_size
    logits = opened.network(torch.zeros(2, 3, size, size))
    assert logits.shape == (2, opened.card.classes)


def damaged_files(folder: Path, gene: Any) -> Target:
    return lambda data: use(written(folder / "x.onnx", data)), damaged(small_file(gene))


def forged_metadata(folder: Path, gene: Any) -> Target:
    """A sound file that says something else about itself."""
    model = onnx.load_model_from_string(small_file(gene))
    said = {one.key: json.loads(one.value) for one in model.metadata_props}

    def check(values: Any) -> None:
        del model.metadata_props[:]
        if isinstance(values, dict):
            for key, value in values.items():
                model.metadata_props.add(key=str(key).encode(errors="replace"), value=as_text(value))
        use(written(folder / "y.onnx", model.SerializeToString()))

    return check, mutated(said)


def forged_graph(folder: Path, gene: Any) -> Target:
    """Names and shapes that the file declares, weights outside the file, and operators that there aren't."""
    whole = small_file(gene)
    sizes = st.sampled_from([0, 1, 3, 8, 9, 10, -1, 2**31, 2**62, "batch", ""])

    def check(change: tuple[str, Any]) -> None:
        model = onnx.load_model_from_string(whole)
        what, value = change
        graph = model.graph
        if what == "shape":
            for dimension, size in zip((*graph.input[0].type.tensor_type.shape.dim,), value, strict=False):
                dimension.Clear()
                setattr(dimension, "dim_param" if isinstance(size, str) else "dim_value", size)
        elif what == "outside":
            weights = graph.initializer[0]
            weights.ClearField("raw_data")
            weights.data_location = onnx.TensorProto.EXTERNAL
            weights.external_data.add(key="location", value=value)
        elif what == "operator":
            graph.node[0].op_type, graph.node[0].domain = value
        else:
            graph.node[0].name = value
            graph.input[0].name = graph.node[0].input[0] = value
        use(written(folder / "z.onnx", model.SerializeToString()))

    outside = ["/etc/passwd", "../../etc/passwd", "x.onnx", "", "/dev/zero", "nowhere"]
    operators = [("NoSuchOperator", ""), ("Flatten", "com.example"), ("Loop", ""), ("If", ""), ("Identity", "")]
    changes = (
        st.tuples(st.just("shape"), st.lists(sizes, min_size=4, max_size=4))
        | st.tuples(st.just("outside"), st.sampled_from(outside))
        | st.tuples(st.just("operator"), st.sampled_from(operators))
        | st.tuples(st.just("name"), st.text(st.characters(codec="utf-8"), max_size=9))
    )
    return check, changes


def as_text(value: Any) -> bytes:
    return json.dumps(value).encode(errors="replace")


TARGETS: dict[str, Callable[[Path, Any], Target]] = {
    maker.__name__: maker for maker in (damaged_files, forged_metadata, forged_graph)
}


@A_FEW_AND_MANY
@pytest.mark.parametrize("target", sorted(TARGETS), indirect=True)
def test_hostile_files(target, examples):
    feed(*target, examples)
