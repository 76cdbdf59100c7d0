"""Stopgap."""
import torch, torch.nn.functional as F
from typing import Callable
Augment = Callable
def normalise(images, mean, std):
    m = torch.tensor(mean, device=images.device).view(1, 3, 1, 1)
    s = torch.tensor(std, device=images.device).view(1, 3, 1, 1)
    return (images.float() / 255 - m) / s
def make_augment(section, *, mean, std, classes, smoothing):
    def augment(images, labels, generator):
        t = F.one_hot(labels, classes).float()
        return normalise(images, mean, std), t * (1 - smoothing) + smoothing / classes
    return augment
def step_generator(seed, step, rank, device):
    g = torch.Generator(device=device); g.manual_seed((seed * 1000003 + step) * 1009 + rank); return g
