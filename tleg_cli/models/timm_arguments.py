"""Which networks and arguments a model file may ask timm for: plain names and plain values, nothing that reads a file or a URL."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from tleg_cli import plugin_manager
from tleg_cli.errors import FileFormatError
from tleg_cli.hookspecs import Backbone
from tleg_cli.learngene.depths import MAX_DEPTH

# sizes and switches of timm's own networks. Not among them, and never to be: pretrained, pretrained_cfg*, checkpoint_path,
# cache_dir, features_only, scriptable, exportable and whatever else makes timm fetch, read or wrap something
_SAFE_WORDS = """
    num_classes in_chans img_size patch_size window_size window_sizes embed_dim embed_dims depth depths layers num_heads
    heads head_dim head_hidden_size head_init_scale head_norm_first mlp_ratio mlp_ratios expand_ratio key_dim attn_ratio
    qkv_bias qk_norm proj_bias init_values ls_init_value layer_scale_init_value class_token reg_tokens no_embed_class
    pos_embed use_abs_pos_emb use_rel_pos_bias use_shared_rel_pos_bias use_rot_pos_emb num_reg_tokens swiglu_mlp scale_mlp
    global_pool pool_type fc_norm use_fc_norm final_norm pre_norm distilled distillation dynamic_img_size dynamic_img_pad
    strict_img_size drop_rate pos_drop_rate patch_drop_rate proj_drop_rate attn_drop_rate drop_path_rate drop_block_rate
    channels dims widths kernel_size kernel_sizes conv_bias conv_mlp use_grn patch_norm ape output_stride stem_type
    stem_width stem_chs stem_size num_features cardinality base_width groups growth_rate block_config avg_down
    block_reduce_first sr_ratios act_layer norm_layer norm_eps weight_init channel_multiplier depth_multiplier
"""
_SAFE = frozenset(_SAFE_WORDS.split())
_LENGTHS = ("depth", "depths", "layers")
_NAME = re.compile(r"[A-Za-z0-9_]{1,100}(\.[A-Za-z0-9_]{1,100})?")
_WORD = re.compile(r"[A-Za-z0-9_]{0,40}")
_LARGEST = 1_000_000
_MAX_VALUES = 1000


def is_plain_name(name: str) -> bool:
    """Whether `name` can only be one of timm's registered networks: no `hf-hub:`, `local-dir:`, URL or path."""
    return _NAME.fullmatch(name) is not None


def checked_arguments(name: Any, arguments: Any, backbone: str | None = None) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a file's timm call; lists become tuples.

    backbone: the registered backbone that the file says it is of; then only its arguments are taken, and of its types.
    Raises FileFormatError for anything else, so that nothing a file says reaches the network or another file.
    """
    if not isinstance(name, str) or not is_plain_name(name):
        raise FileFormatError(f"its network is called {repr(name)[:80]}, which is not a plain name of a timm model")
    if not isinstance(arguments, Mapping):
        raise FileFormatError(f"the arguments of its network are {repr(arguments)[:80]}, not a table")
    family = plugin_manager.get_backbone(backbone) if backbone is not None else None
    if family is not None and family.timm_name != name:
        raise FileFormatError(
            f"it says that it is a {family.name}, but its network is {name!r}, not {family.timm_name!r}"
        )
    allowed = _arguments_of(family) if family is not None else {**_of_plugins(name), **dict.fromkeys(_SAFE)}
    checked = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    for key, value in checked.items():
        if key not in allowed:
            raise FileFormatError(f"its network has the argument {repr(key)[:60]}, which a file may not set")
        if not _is_plain(value) or not _is_like(value, allowed[key]):
            raise FileFormatError(f"its network has {key} = {repr(value)[:80]}, which is not a value of that argument")
    if blocks := _too_deep(checked):
        raise FileFormatError(f"its network has {blocks} blocks; {MAX_DEPTH} in each stage are allowed")
    return name, checked


def _arguments_of(backbone: Backbone) -> dict[str, Any]:
    """What a file of this backbone may say, each with a value of its type."""
    return {
        **backbone.arguments,
        **backbone.options,
        backbone.depth_argument: backbone.usual_depth[0],
        "num_classes": 1,
    }


def _of_plugins(name: str) -> dict[str, Any]:
    """What registered backbones say of this network: a plugin's own may take arguments that timm's don't have."""
    known: dict[str, Any] = {}
    for backbone in plugin_manager.backbones().values():
        if backbone.timm_name == name:
            known |= _arguments_of(backbone)
    return known


def _is_plain(value: Any) -> bool:
    """A number, a switch, a word, nothing, or a short row of them."""
    if isinstance(value, tuple):
        return len(value) <= _MAX_VALUES and all(
            _is_plain(list(one) if isinstance(one, tuple) else one) for one in value
        )
    if isinstance(value, list):  # one level inside a row
        return len(value) <= _MAX_VALUES and all(not isinstance(one, list | tuple) and _is_plain(one) for one in value)
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    if isinstance(value, int | float):
        return math.isfinite(value) and abs(value) <= _LARGEST
    return value is None


def _is_like(value: Any, example: Any) -> bool:
    """Whether a value has the type of the one that the backbone has; numbers may be rows, as timm's sizes are."""
    if example is None:
        return True
    if value is None:
        return False
    if isinstance(example, bool | str):
        return isinstance(value, type(example))
    return not isinstance(value, bool | str)


def _too_deep(arguments: Mapping[str, Any]) -> int | None:
    """The first number of blocks that no network has."""
    for key in _LENGTHS:
        row = arguments.get(key, ())
        for number in row if isinstance(row, tuple) else (row,):
            if isinstance(number, int | float) and number > MAX_DEPTH:
                return int(number)
    return None
