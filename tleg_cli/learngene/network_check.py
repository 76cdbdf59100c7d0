"""What a learngene file says of its own network: with which timm its tensors were compared, so that `tleg expand` needn't do it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tleg_cli.errors import FileFormatError


@dataclass(frozen=True)
class NetworkCheck:
    """The tensors had the names, shapes and dtypes of timm's network of the trained depth when this was written.

    timm: its version. network: SHA-256 of what was compared; see models/network_check.py. buffers: shared tensors that are not
    parameters. branch_ends: weights that end a residual branch, which was checked on the network; none if it wasn't.
    """

    timm: str
    network: str
    buffers: tuple[str, ...] = ()
    branch_ends: tuple[str, ...] = ()


def network_check_values(check: NetworkCheck) -> dict[str, Any]:
    """Plain values, as read_network_check reads them."""
    lists = {"buffers": list(check.buffers), "branch_ends": list(check.branch_ends)}
    return {"timm": check.timm, "network": check.network, **lists}


def read_network_check(values: Any) -> NetworkCheck | None:
    """What a file holds, None if it holds none. Raises FileFormatError for anything else."""
    if values is None:
        return None
    if not isinstance(values, Mapping) or not _are_texts([values.get("timm"), values.get("network")]):
        raise FileFormatError(
            f"network_check {repr(values)[:80]} should be a table of timm, network, buffers and branch_ends"
        )
    lists = [values.get("buffers"), values.get("branch_ends")]
    if not all(_are_texts(names) for names in lists):
        raise FileFormatError(f"network_check {repr(lists)[:80]} should be two lists of names")
    buffers, ends = (tuple(names) for names in lists if names is not None)
    return NetworkCheck(str(values["timm"]), str(values["network"]), buffers, ends)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
