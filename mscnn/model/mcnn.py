"""The multi-scale CNN (M-CNN) for whole fields of view.

Topology: Godinez et al., Bioinformatics 33 (2017) 2010-2019; channel counts, initialisation and the linear head as in
the TensorFlow program of the 2018 8-node training (kdatta/benchmarks, branch mcnn), confirmed by ml-jku/hti-cnn.

Shape suffixes: N fields, C input channels, H W pixels, K classes, B branch channels.
"""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscnn.core.field_size import SIZE_MULTIPLE, misfit
from mscnn.model import thin_linear, ways
from mscnn.model.sparse import SparseBranch, WinogradBranch
from mscnn.model.ways import BRANCH_CHANNELS, COARSEST

COMBINED_CHANNELS = 1024
NUM_FEATURES = 512


class Branch(nn.Module):
    """Three 5x5 convolutions with ReLU at one scale, then a max-pool down to the common H/64 x W/64 grid.

    way: how it is computed, of ways.WAYS.  All are equal up to rounding.
    """

    def __init__(self, in_channels: int, channels: int, pool: int, *, way: str = ways.DENSE):
        super().__init__()
        self.pool, self.way = pool, way
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels if layer else in_channels, channels, kernel_size=5, padding=2) for layer in range(3)
        )

    def forward(self, scaled_NCHW: Tensor) -> Tensor:
        """Map (N, C, H/2^i, W/2^i) to (N, B, H/64, W/64)."""
        if self.way != ways.DENSE and not scaled_NCHW.requires_grad:  # attribution asks for the field's gradient
            parameters = (part for layer in self.convolutions for part in (layer.weight, layer.bias))
            if self.way == ways.WINOGRAD and torch.is_grad_enabled() and scaled_NCHW.dtype == torch.float32:
                return WinogradBranch.apply(scaled_NCHW, self.pool, *parameters)
            return SparseBranch.apply(scaled_NCHW, self.pool, self.way != ways.SPARSE, *parameters)
        activation = scaled_NCHW
        for convolution in self.convolutions:
            activation = F.relu(convolution(activation), inplace=True)
        return F.max_pool2d(activation, self.pool) if self.pool > 1 else activation


class MCNN(nn.Module):
    """The multi-scale CNN: 42,577,261 parameters at 1024x1280, 3 channels and 13 classes.

    num_classes: width of the last layer, 0 where a screen has no mechanisms; in_channels: any number of stains;
    height, width: pixels of a field, multiples of 128, fixed because the first linear layer has a weight for each position;
    pooling: "none" has a weight for each position of the 1024 combined maps (Godinez 2017); "mean-max" takes the mean and
    the maximum of each map over the field, 1.5 M parameters at any size;
    downscale: the field is first averaged over blocks of so many pixels squared; height and width are those before it;
    head_relu: ReLU between the two linear layers (Godinez 2017); the 2018 program computed it but never used it;
    gradient: "sparse", "dense" or "winograd" for all branches that can, "auto": whichever multiplies least at this size, or
    the way of each branch, of ways.WAYS;
    kernel: "auto": branches of 16 and 32 channels run in compiled C++ where that is available; "torch": never.
    Raises ValueError for other sizes, naming the nearest ones that fit.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, height: int = 1024, width: int = 1280,
                 head_relu: bool = True, gradient: str | Sequence[str] = "auto", kernel: str = "auto",
                 pooling: str = "none", downscale: int = 1):
        super().__init__()
        require_fitting_size(height, width, downscale)
        if num_classes < 0 or in_channels < 1:
            raise ValueError(f"a network needs 0 or more classes and at least 1 channel, got {num_classes} and "
                             f"{in_channels}")
        self.in_channels, self.height, self.width, self.head_relu = in_channels, height, width, head_relu
        self.pooling, self.downscale = pooling, downscale
        height, width = height // downscale, width // downscale
        self._ways = (ways.by_counting(gradient, kernel, in_channels, height, width) if isinstance(gradient, str) else
                      tuple(gradient))
        self.branches = nn.ModuleList(Branch(in_channels, channels, COARSEST >> i, way=self._ways[i])
                                      for i, channels in enumerate(BRANCH_CHANNELS))
        self.combine = nn.Conv2d(sum(BRANCH_CHANNELS), COMBINED_CHANNELS, kernel_size=1)
        grid = (height // SIZE_MULTIPLE) * (width // SIZE_MULTIPLE)
        self.hidden = nn.Linear(COMBINED_CHANNELS * (grid if pooling == "none" else 2), NUM_FEATURES)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # without classes there is nothing to
            self.classify = nn.Linear(NUM_FEATURES, num_classes)
        self.apply(_initialise)

    def forward(self, fields_NCHW: Tensor) -> Tensor:
        """Map normalised fields (N, C, H, W) to class scores (N, K), before softmax."""
        return self.classify(self.features(fields_NCHW))

    def features(self, fields_NCHW: Tensor) -> Tensor:
        """Map normalised fields (N, C, H, W) to the 512 activations (N, 512) that the classifier reads."""
        return self.head(self.scales(fields_NCHW))

    def head(self, scales_NBhw: Tensor) -> Tensor:
        """Map the concatenated branches (N, 208, H/64, W/64) to the 512 activations (N, 512)."""
        combined = self.combine(scales_NBhw)
        if self.pooling == "none":
            combined = F.relu(F.max_pool2d(combined, 2), inplace=True)  # a maximum and ReLU commute
        else:
            combined = F.relu(combined, inplace=True)
            combined = torch.cat([combined.mean((2, 3)), combined.amax((2, 3))], dim=1)
        with torch.autocast("cpu", enabled=False):  # 160 MiB of weights, read once: copying them to bfloat16 costs more
            hidden = thin_linear.apply(self.hidden, combined.flatten(1).to(self.hidden.weight.dtype))
        return F.relu(hidden) if self.head_relu else hidden

    def ways(self) -> tuple[str, ...]:
        """Return how each branch is computed, of ways.WAYS."""
        return self._ways

    def scales(self, fields_NCHW: Tensor) -> Tensor:
        """Map normalised fields (N, C, H, W) to the concatenated branches (N, 208, H/64, W/64)."""
        expected = (self.in_channels, self.height, self.width)
        if tuple(fields_NCHW.shape[1:]) != expected:
            raise ValueError(f"fields of shape {tuple(fields_NCHW.shape[1:])} given to a network built for {expected} "
                             "(channels, height, width); build one for this size or crop with --image-size")
        outputs, scaled = [], F.avg_pool2d(fields_NCHW, self.downscale) if self.downscale > 1 else fields_NCHW
        for i, branch in enumerate(self.branches):
            if i:
                scaled = halved(scaled)  # a 2x2 pool of the 2^(i-1) pool is exactly the 2^i pool
            outputs.append(branch(scaled))
        return torch.cat(outputs, dim=1)


def halved(fields_NCHW: Tensor) -> Tensor:
    """Max-pool by 2x2; for few channels, stored last, 5 times as fast as F.max_pool2d, which goes channel by channel."""
    rows = torch.maximum(fields_NCHW[:, :, ::2], fields_NCHW[:, :, 1::2])
    return torch.maximum(rows[:, :, :, ::2], rows[:, :, :, 1::2])


def require_fitting_size(height: int, width: int, downscale: int = 1) -> None:
    """Raise ValueError unless both sides, once downscaled, are positive multiples of 128."""
    if problem := misfit(height, width, downscale):
        raise ValueError(problem)


def _initialise(layer: nn.Module) -> None:
    """Set Xavier-uniform weights and zero biases, as in the 2018 program."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]  (only with bias=False there is none)
