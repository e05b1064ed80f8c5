"""Checkpoints of networks that nobody trained, with numbers in them as after training."""

from __future__ import annotations

import torch
from torch import nn

from edgekit.card import Architecture, InputSpec
from edgekit.models import create
from edgekit.train import checkpoint as checkpoints
from edgekit.train.checkpoint import Checkpoint
from support.photos import CLASSES


def write(path, arch="mobilenet_v2", width=0.5, labels=CLASSES, spec=None, seed=0):
    torch.manual_seed(seed)
    network = create(arch, classes=len(labels), width=width, stem_stride=1)
    for module in network.modules():  # as after training: no two channels are alike
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    found = Checkpoint(
        Architecture(arch, width), spec or InputSpec(32, 32), labels, network.state_dict(), stem_stride=1
    )
    checkpoints.save(path, found)
    return path
