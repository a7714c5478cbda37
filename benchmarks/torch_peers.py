"""The same networks in PyTorch, for comparison only. Importing this needs torch."""

from __future__ import annotations

import torch
from torch import nn

from cnn_app.architectures import shufflenet_v1

MEMORY = {"default": torch.contiguous_format, "channels_last": torch.channels_last}


def gradient_step(module: nn.Module, shape: tuple[int, ...], batch: int, layout: str):
    """A call that runs `module` forward and backward on (batch, *shape), shape = (H, W, C)."""
    height, width, channels = shape
    module = module.to(memory_format=MEMORY[layout])
    x = torch.randn(batch, channels, height, width).to(memory_format=MEMORY[layout]).requires_grad_()
    upstream = torch.randn_like(module(x))
    wanted = [x, *module.parameters()]
    return lambda: torch.autograd.grad(module(x), wanted, upstream)


def layer_step(kernel: int, before: int, after: int, groups: int, side: int, batch: int, layout: str):
    """`gradient_step` of a grouped convolution."""
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, groups=groups, bias=False)
    return gradient_step(convolution, (side, side, before), batch, layout)


def train_step(module: nn.Module, images, labels, layout: str):
    """A call that does one AdamW step on uint8 images (N, H, W, C) and labels as integers."""
    module = module.to(memory_format=MEMORY[layout])
    pixels, target = torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(module.parameters())

    def step():
        x = (pixels.float() / 127.5 - 1).contiguous(memory_format=MEMORY[layout])
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def conv_bn(before, after, kernel=1, stride=1, groups=1, act=True):
    parts = [nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(after)]
    return nn.Sequential(*parts, *[nn.ReLU()] * act)


class Bottleneck(nn.Module):
    """A ResNeXt unit without projection."""

    def __init__(self, width, groups):
        super().__init__()
        inner = width // 2
        self.branch = nn.Sequential(
            conv_bn(width, inner), conv_bn(inner, inner, 3, groups=groups), conv_bn(inner, width, act=False)
        )

    def forward(self, x):
        return torch.relu(x + self.branch(x))


class ShuffleUnit(nn.Module):
    def __init__(self, before, after, stride, groups, grouped_reduce):
        super().__init__()
        self.stride, inner = stride, after // 4
        self.branch = nn.Sequential(
            conv_bn(before, inner, groups=grouped_reduce),
            nn.ChannelShuffle(groups),
            conv_bn(inner, inner, 3, stride, inner, act=False),
            conv_bn(inner, after if stride == 1 else after - before, groups=groups, act=stride == 2),
        )

    def forward(self, x):
        y = self.branch(x)
        return torch.relu(x + y) if self.stride == 1 else torch.cat([nn.functional.avg_pool2d(x, 3, 2, 1), y], 1)


def shufflenet(spec: shufflenet_v1.ShuffleNetV1) -> nn.Module:
    stem, *stages = shufflenet_v1.widths(spec)
    parts, width = [conv_bn(spec.image[2], stem, 3, 2), nn.MaxPool2d(3, 2, 1)], stem
    for stage, (after, repeats) in enumerate(zip(stages, shufflenet_v1.REPEATS, strict=True)):
        for unit in range(repeats):
            grouped_reduce = 1 if (stage, unit) == (0, 0) else spec.groups
            parts.append(ShuffleUnit(width, after, 1 if unit else 2, spec.groups, grouped_reduce))
            width = after
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, spec.classes))
