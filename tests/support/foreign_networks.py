"""Small classifiers in the manner of other people's: seeded weights, batch statistics as after training.

Each takes (N, 3, 48, 48) and gives (N, 6).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

SIZE = 48
CLASSES = 6


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    plain = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(plain, nn.BatchNorm2d(outputs))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, gate: nn.Module, active: nn.Module):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)
        self.gate, self.active = gate, active

    def forward(self, x):
        return x * self.gate(self.up(self.active(self.down(functional.adaptive_avg_pool2d(x, 1)))))


class Inverted(nn.Module):
    """Expansion, depthwise, squeeze-and-excite, projection, as in MobileNetV3 and EfficientNet."""

    def __init__(self, inputs, outputs, stride, active, squeeze=None):
        super().__init__()
        middle = 3 * inputs
        steps = [conv(inputs, middle, 1), active(), conv(middle, middle, 3, stride, middle), active()]
        steps += [squeeze(middle)] if squeeze else []
        self.body = nn.Sequential(*steps, conv(middle, outputs, 1))
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.skip else self.body(x)


def mobilenet_v3() -> nn.Module:
    def squeeze(channels: int) -> nn.Module:
        return SqueezeExcite(channels, nn.Hardsigmoid(), nn.ReLU())

    swish = nn.Hardswish
    body = [Inverted(12, 12, 1, nn.ReLU, squeeze), Inverted(12, 16, 2, swish, squeeze), Inverted(16, 16, 1, swish)]
    head = [conv(16, 48, 1), swish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(conv(3, 12, 3, 2), swish(), *body, *head, nn.Linear(48, 32), swish(), nn.Linear(32, CLASSES))


def efficientnet_lite() -> nn.Module:
    body = [Inverted(12, 12, 1, nn.ReLU6), Inverted(12, 16, 2, nn.ReLU6), Inverted(16, 16, 1, nn.ReLU6)]
    head = [conv(16, 48, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(conv(3, 12, 3, 2), nn.ReLU6(), *body, *head, nn.Linear(48, CLASSES))


def efficientnet() -> nn.Module:
    def squeeze(channels: int) -> nn.Module:
        return SqueezeExcite(channels, nn.Sigmoid(), nn.SiLU())

    body = [Inverted(12, 12, 1, nn.SiLU, squeeze), Inverted(12, 16, 2, nn.SiLU, squeeze)]
    head = [conv(16, 48, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(conv(3, 12, 3, 2), nn.SiLU(), *body, *head, nn.Linear(48, CLASSES))


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs, 3, stride), nn.ReLU(), conv(outputs, outputs))
        self.shortcut = conv(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x))


def resnet() -> nn.Module:
    stem = [conv(3, 12, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    body = [Residual(12, 12, 1), Residual(12, 24, 2), Residual(24, 24, 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(24, CLASSES)]
    return nn.Sequential(*stem, *body, *head, nn.Softmax(1))


class Dense(nn.Module):
    """Normalization and ReLU before the convolution, whose output is appended to its input."""

    def __init__(self, inputs, growth):
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, growth, 3, 1, 1, bias=False))

    def forward(self, x):
        return torch.cat([x, self.body(x)], 1)


def densenet() -> nn.Module:
    stem = [conv(3, 12, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    transition = [nn.BatchNorm2d(28), nn.ReLU(), nn.Conv2d(28, 14, 1, bias=False), nn.AvgPool2d(2)]
    body = [Dense(12, 8), Dense(20, 8), *transition, Dense(14, 8)]
    head = [nn.BatchNorm2d(22), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(22, CLASSES)]
    return nn.Sequential(*stem, *body, *head)


class Inception(nn.Module):
    """Branches side by side, one behind a padded average pool, another behind a ReLU6 that stands alone."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2), nn.ReLU())
        self.one, self.three = nn.Sequential(conv(16, 8, 1)), nn.Sequential(conv(16, 8, 3), nn.ReLU())
        self.pooled = nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(16, 8, 1), nn.ReLU())
        self.largest = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(16, 8, 1), nn.ReLU())
        self.down = nn.Sequential(nn.ReLU6(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), conv(32, 32, 3), nn.ReLU6())
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        x = self.down(torch.cat([self.one(x), self.three(x), self.pooled(x), self.largest(x)], 1))
        return functional.log_softmax(self.head(x.mean((2, 3))), 1)


def leaky() -> nn.Module:
    first = [conv(3, 16, 3, 2), nn.LeakyReLU(0.1), conv(16, 16, 3, 1, 16), nn.PReLU(16, 0.2)]
    second = [conv(16, 32, 1), nn.LeakyReLU(0.01), nn.MaxPool2d(2), conv(32, 32), nn.PReLU(1, 0.25)]
    return nn.Sequential(*first, *second, nn.AvgPool2d(12), nn.Conv2d(32, CLASSES, 1))


NETWORKS = {
    "mobilenet_v3": mobilenet_v3,
    "efficientnet_lite": efficientnet_lite,
    "efficientnet": efficientnet,
    "resnet": resnet,
    "densenet": densenet,
    "inception": Inception,
    "leaky": leaky,
}


def create(name: str, images: torch.Tensor) -> nn.Module:
    """A network of `NETWORKS` in evaluation mode, whose batch statistics are those of `images` (N, 3, 48, 48)."""
    with torch.random.fork_rng():
        torch.manual_seed(sorted(NETWORKS).index(name))
        network = NETWORKS[name]()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0.0, 0.3)
            if isinstance(module, nn.PReLU):
                nn.init.uniform_(module.weight, 0.05, 0.4)
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.5)
        with torch.no_grad():
            network.train()(images)
    return network.eval()
