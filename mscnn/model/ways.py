"""The ways to compute a branch and its gradient: equal up to rounding, and fast at different sizes and on different CPUs.

Counts are multiplications of one field, forward and backward, without transforms and if no maximum is zero.
"""

from collections.abc import Sequence

from mscnn.model import kernel, sparse

BRANCH_CHANNELS = (16, 16, 16, 32, 32, 32, 64)  # branch i reads the field max-pooled by 2**i
COARSEST = 2 ** (len(BRANCH_CHANNELS) - 1)      # 64: every branch ends on the grid of the coarsest one

DENSE = "dense"        # PyTorch's convolutions, all pixels in both passes
SPARSE = "sparse"      # PyTorch's convolutions; backward only patches around the maxima (sparse.py)
COMPILED = "compiled"  # the same in C++ (kernel.py)
WINOGRAD = "winograd"  # C++, all pixels in both passes by Winograd's filtering; keeps the activations of two layers
WAYS = (DENSE, SPARSE, COMPILED, WINOGRAD)


def candidates(gradient: str, use_kernel: str, channels: int, pool: int) -> list[str]:
    """Return the ways that `--gradient` and `--kernel` leave for a branch here."""
    assert gradient in ("auto", "sparse", "dense", "winograd")
    assert use_kernel in ("auto", "torch")
    if gradient == "dense" or pool == 1:
        return [DENSE]
    is_compiled = use_kernel == "auto" and kernel.computes(channels, pool) and kernel.available()[0]
    sparse_way = COMPILED if is_compiled and kernel.computes_patches(channels, pool) else SPARSE
    found = {"sparse": [sparse_way], "winograd": [WINOGRAD] if is_compiled else [DENSE]}
    return found.get(gradient) or [sparse_way, *([WINOGRAD] if is_compiled else []), DENSE]


def candidates_of_all(gradient: str, use_kernel: str) -> list[list[str]]:
    """Return the candidates of each branch."""
    return [candidates(gradient, use_kernel, channels, COARSEST >> i) for i, channels in enumerate(BRANCH_CHANNELS)]


def by_counting(gradient: str, use_kernel: str, in_channels: int, height: int, width: int) -> tuple[str, ...]:
    """Return the way of each branch that multiplies least for fields of height x width pixels."""
    chosen = []
    for i, candidate_ways in enumerate(candidates_of_all(gradient, use_kernel)):
        counts = counted(candidate_ways, i, in_channels, height, width)
        chosen.append(min(counts, key=lambda way: counts[way]))
    return tuple(chosen)


def counted(candidate_ways: Sequence[str], i: int, in_channels: int, height: int, width: int) -> dict[str, int]:
    """Return the multiplications of branch i by way, for fields of height x width pixels."""
    return {way: products(way, height >> i, width >> i, COARSEST >> i, in_channels, BRANCH_CHANNELS[i])
            for way in candidate_ways}


def products(way: str, height: int, width: int, pool: int, in_channels: int, channels: int) -> int:
    """Count the multiplications of a step for one field of height x width pixels of this branch."""
    weights = [25 * a * channels for a in (in_channels, channels, channels)]
    pixels, windows = height * width, (height // pool) * (width // pool) * channels
    if way == DENSE:
        return pixels * (3 * sum(weights) - weights[0])      # values, gradients of weights, of all inputs but the first
    if way in (COMPILED, WINOGRAD):
        pixel, window = kernel.products(in_channels) if way == COMPILED else kernel.pixel_products(in_channels, channels)
        return pixels * pixel + windows * window
    sides = [sparse.PATCH - 4, sparse.PATCH - 8, sparse.PATCH - 12]
    forward = sum(side**2 * weight for side, weight in zip(sides, weights, strict=True))
    return pixels * sum(weights) + windows * (3 * forward - sides[0]**2 * weights[0])  # likewise, for each patch
