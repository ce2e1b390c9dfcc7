"""Blueprint to torch module.

Inputs are (n, channels, height, width) or (n, features), already preprocessed; outputs are logits
(n, classes). `LinearFit` keeps a classifier that was fitted elsewhere in the same form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .blueprint import Blueprint, ConvNet, ConvStep, DenseNet, Size, Stage, out_size, same_padding

if TYPE_CHECKING:
    import torch
    from torch import nn


def build_module(blueprint: Blueprint) -> nn.Module:
    """A fresh module; its weights follow torch's global generator."""
    if isinstance(blueprint, ConvNet):
        return _conv_net(blueprint)
    return _dense_net(blueprint)


def example_input(blueprint: Blueprint) -> torch.Tensor:
    """Zeros of one sample's shape, batch 1, in torch's layout."""
    import torch

    shape = blueprint.input_shape
    if len(shape) == 3:
        height, width, channels = shape
        return torch.zeros(1, channels, height, width)
    return torch.zeros(1, *shape)


def parameter_count(module: nn.Module) -> int:
    """Trainable scalars, batch norm included."""
    return sum(parameter.numel() for parameter in module.parameters())


def _conv_net(net: ConvNet) -> nn.Module:
    from torch import nn

    height, width, channels = net.input_shape
    size = (height, width)
    layers: list[nn.Module] = []
    for stage in net.stages:
        body, channels, size = _stage(stage, channels, size)
        layers.append(body)
    layers.append(_global_mean())
    layers.append(nn.Linear(channels, net.classes))
    return nn.Sequential(*layers)


def _stage(stage: Stage, channels: int, size: Size) -> tuple[nn.Module, int, Size]:
    from torch import nn

    steps: list[nn.Module] = []
    for step in stage.steps:
        steps += _conv(step, channels, size)
        channels = step.channels
        size = (out_size(size[0], step.stride), out_size(size[1], step.stride))
    body = nn.Sequential(*steps)
    if stage.residual:
        return _residual(body, relu=stage.relu_after_sum), channels, size
    return body, channels, size


def _conv(step: ConvStep, channels: int, size: Size) -> list[nn.Module]:
    from torch import nn

    rows = same_padding(size[0], step.kernel, step.stride)
    columns = same_padding(size[1], step.kernel, step.stride)
    symmetric = rows[0] == rows[1] and columns[0] == columns[1]
    layers: list[nn.Module] = [] if symmetric else [nn.ZeroPad2d((*columns, *rows))]
    layers.append(
        nn.Conv2d(
            channels,
            step.channels,
            step.kernel,
            step.stride,
            padding=(rows[0], columns[0]) if symmetric else 0,
            groups=channels if step.depthwise else 1,
            bias=False,
        )
    )
    layers.append(nn.BatchNorm2d(step.channels))
    if step.relu:
        layers.append(nn.ReLU())
    return layers


def _residual(body: nn.Module, *, relu: bool) -> nn.Module:
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body
            self.after = nn.ReLU() if relu else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.after(x + self.body(x))
            return result

    return Residual()


def _global_mean() -> nn.Module:
    from torch import nn

    class GlobalMean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    return GlobalMean()


def _dense_net(net: DenseNet) -> nn.Module:
    from torch import nn

    layers: list[nn.Module] = [nn.Flatten()] if len(net.input_shape) > 1 else []
    incoming = 1
    for axis in net.input_shape:
        incoming *= axis
    for width in net.widths:
        layers += [nn.Linear(incoming, width), nn.ReLU()]
        incoming = width
    layers.append(nn.Linear(incoming, net.classes))
    return nn.Sequential(*layers)
