"""Statistics of a field's pixels, which need no labels: the targets of the auxiliary task (--statistics-weight).

They are computed from the network's input.  Mirrors and quarter turns change no statistic but the quantiles, which are
those of every seventh pixel.

Shapes: N fields, C channels, H W pixels, P pairs of channels, D numbers.
"""

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.9, 0.99)
EVERY = 7           # of pixels, for quantiles
OCTAVES = 5         # bands of a Laplacian pyramid (Burt & Adelson 1983)
BRIGHT = (0.5, 1.0, 2.0)  # standard deviations above the mean
SPOT_SCALES = 2
LEAST = 1e-3        # sd, or share of pixels, that still counts: constant channels stay finite


def pixel_statistics(fields_NCHW: Tensor) -> Tensor:
    """Return (N, D) float32 of fields (N, C, H, W): histogram, texture by octaves, correlation of channels, bright spots.

    Means and standard deviations are left out: they depend on the plate as much as on the cells.  H and W at least 64.
    """
    scaled_NCHW = _standard(fields_NCHW.float())
    parts = [_histogram(scaled_NCHW), *_octaves(scaled_NCHW), _correlations(scaled_NCHW), *_spots(scaled_NCHW)]
    return torch.cat(parts, dim=1)


def _histogram(scaled_NCHW: Tensor) -> Tensor:
    """Return skewness, logarithm of the kurtosis, and quantiles."""
    flat_NCp = scaled_NCHW.flatten(2)
    ordered = flat_NCp[:, :, ::EVERY].sort(dim=2).values
    quantiles = [ordered[:, :, int(share * ordered.shape[2])] for share in QUANTILES]
    return torch.cat([flat_NCp.pow(3).mean(2).clamp(-6, 6), _tails(flat_NCp), *quantiles], dim=1)


def _octaves(scaled_NCHW: Tensor) -> list[Tensor]:
    """Return of each octave: sd, tails, correlations of channels and of their local contrasts; and the sd of the rest."""
    statistics, rest_NCHW = [], scaled_NCHW
    for _ in range(OCTAVES):
        smooth_NCHW = _smooth(_smooth(rest_NCHW))
        band_NCHW = rest_NCHW - smooth_NCHW
        standard_NCHW = _standard(band_NCHW)
        statistics += [_log_sd(band_NCHW), _tails(standard_NCHW.flatten(2)), _correlations(standard_NCHW),
                       _correlations(_standard(band_NCHW.abs()))]
        rest_NCHW = F.avg_pool2d(smooth_NCHW, 2)
    return [*statistics, _log_sd(rest_NCHW)]


def _spots(scaled_NCHW: Tensor) -> list[Tensor]:
    """Return statistics of pixels brighter than so many sd.

    They are the number of peaks, the share of the field, the share away from the rim, and the channels' means there.
    """
    statistics, plane_NCHW = [], _smooth(scaled_NCHW)
    for scale in range(SPOT_SCALES):
        peaks_NCHW = plane_NCHW == F.max_pool2d(plane_NCHW, 5, stride=1, padding=2)
        for level in BRIGHT:
            bright_NCHW = (plane_NCHW > level).float()
            area_NC = bright_NCHW.sum((2, 3))
            inside_NCHW = -F.max_pool2d(-bright_NCHW, 5, stride=1, padding=2)
            statistics += [torch.log1p((peaks_NCHW * bright_NCHW).sum((2, 3))), (bright_NCHW.mean((2, 3)) + LEAST).log(),
                           (inside_NCHW.sum((2, 3)) + 1) / (area_NC + 1)]
            if scale == 0:
                inside_NCC = bright_NCHW.flatten(2) @ scaled_NCHW.flatten(2).transpose(1, 2)
                statistics.append((inside_NCC / (area_NC[:, :, None] + 1)).flatten(1))
        plane_NCHW = _smooth(F.avg_pool2d(plane_NCHW, 2))
    return statistics


def _standard(fields_NCHW: Tensor) -> Tensor:
    """Scale each channel of each field to mean 0 and sd 1; to 0 where it is constant."""
    centred = fields_NCHW - fields_NCHW.mean((2, 3), keepdim=True)
    return centred / (centred.pow(2).mean((2, 3), keepdim=True).sqrt() + LEAST)


def _correlations(standard_NCHW: Tensor) -> Tensor:
    """Return the correlation (N, P) of each pair of channels."""
    pairs = [(standard_NCHW[:, one] * standard_NCHW[:, other]).mean((1, 2))
             for one, other in combinations(range(standard_NCHW.shape[1]), 2)]
    return torch.stack(pairs, dim=1) if pairs else standard_NCHW.new_zeros(len(standard_NCHW), 0)


def _tails(standard_NCp: Tensor) -> Tensor:
    """Return the logarithm of the kurtosis (N, C)."""
    return standard_NCp.pow(4).mean(2).clamp_min(0.01).log()


def _log_sd(fields_NCHW: Tensor) -> Tensor:
    """Return the logarithm of each channel's standard deviation (N, C)."""
    return (fields_NCHW.std((2, 3)) + LEAST).log()


def _smooth(fields_NCHW: Tensor) -> Tensor:
    """Average over 3x3 pixels, edges repeated."""
    return F.avg_pool2d(F.pad(fields_NCHW, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
