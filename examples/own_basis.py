"""Another way in which the weights of a block depend on its depth: W_l = theta_0 + cos(pi l / L) theta_1.

    pip install -e ./examples
    tleg train-teacher --preset digits --data digits --out runs/teacher
    tleg train-aux --preset digits --data digits --teacher runs/teacher/teacher.safetensors --set basis=half_wave --out runs/half-wave
    tleg expand runs/half-wave/learngene.pt --depth 3-12 --out runs/half-wave/networks

A basis is a matrix with a row for each block and a column for each theta. A learngene file names its basis, so whoever expands
the learngene needs this plugin; whoever uses the networks does not.
"""

import math

import torch

from tleg_cli.api import Basis, hookimpl, positions


def half_wave(depth):
    """(depth, 2): a 1 for theta_0, and from 1 at the first block down towards -1 for theta_1."""
    return torch.stack([torch.ones(depth, dtype=torch.float64), torch.cos(math.pi * positions(depth))], dim=1)


@hookimpl
def tleg_bases():
    return [Basis("half_wave", rank=2, matrix=half_wave, directions=(False, True))]  # theta_1 is added to theta_0
