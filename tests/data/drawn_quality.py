"""Fields of drawn screens, good ones and ones that are spoilt in a known way."""

import numpy as np
from scipy import ndimage


def blurred(site_CHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half the radius of a nucleus out of focus, with the noise of the camera on top."""
    sigma = 3 * site_CHW.shape[1] / 128
    light = np.stack([ndimage.gaussian_filter(plane_HW.astype(float), sigma) for plane_HW in site_CHW])
    return _counts(light + rng.normal(0, 60, site_CHW.shape))


def saturated(site_CHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An exposure that is too long for 3 % of the pixels."""
    return _counts(site_CHW * (65520 / np.percentile(site_CHW, 97, axis=(1, 2)))[:, None, None])


def with_debris(site_CHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A fleck of 6 to 12 % of the field's height in one channel, six times as bright as the brightest cells."""
    height, width = site_CHW.shape[1:]
    rows, columns = np.ogrid[:height, :width]
    centre = rng.uniform(0.2, 0.8, 2) * (height, width)
    light = site_CHW.astype(float)
    channel = rng.integers(len(light))
    inside = np.hypot(rows - centre[0], columns - centre[1]) < height * rng.uniform(0.06, 0.12)
    light[channel][inside] += 6 * np.percentile(site_CHW[channel], 99)
    return _counts(light)


def empty(site_CHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The background of a field, with the noise of the camera."""
    background = np.percentile(site_CHW, 5, axis=(1, 2))[:, None, None]
    return _counts(background + rng.normal(0, 40, site_CHW.shape))


def dim(site_CHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sixth of the stain in one channel."""
    light = site_CHW.astype(float)
    background = np.percentile(light[1], 5)
    light[1] = background + (light[1] - background) / 6
    return _counts(light)


def bright(site_CHW: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Six times the light, background and all, as of a compound that glows."""
    return _counts(site_CHW * 6.0)


SPOILT = {"blurred": blurred, "saturated": saturated, "debris": with_debris, "empty": empty, "dim": dim, "bright": bright}


def _counts(light_CHW: np.ndarray) -> np.ndarray:
    """Counts of a camera of 12 bits, stored in the upper ones."""
    return (np.clip(np.round(light_CHW / 16), 0, 4095) * 16).astype(np.uint16)
