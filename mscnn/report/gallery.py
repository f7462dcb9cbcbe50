"""Examples of an evaluation: fields in colour, and the attribution of the predicted mechanism to channels and scales.

Shapes: C channels, H W pixels, h w of a picture.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from mscnn.core import files
from mscnn.evaluation import results
from mscnn.evaluation.attribution import Attribution, attribute
from mscnn.model import MCNN
from mscnn.report import palette
from mscnn.report.run import Example, ExampleFiles

FIELD_PX, OVERLAY_PX = 384, 192  # longer sides
QUALITY = 85
OPACITY = 0.75


def choose(fields: pd.DataFrame, treatments: pd.DataFrame, examples: int = 24) -> list[tuple[int, str]]:
    """Return positions of fields, one per treatment, and the treatment's predicted mechanism.

    Wrong treatments come first, then order is by compound and concentration.  The field is that whose probability of the
    predicted mechanism is the (lower) median; ties: table's order.
    """
    keys = ["Metadata_Compound", "Metadata_Concentration"]
    known = treatments[treatments["Metadata_MOA"] != ""].copy()
    known["right"] = known["Metadata_MOA"] == known["Predicted_MOA"]
    chosen = []
    for _, treatment in known.sort_values(["right", *keys], kind="stable").head(examples).iterrows():
        is_member = np.ones(len(fields), bool)
        for key in (*keys, "Metadata_MOA"):
            is_member &= (fields[key] == treatment[key]) | (fields[key].isna() & pd.isna(treatment[key]))
        rows = np.flatnonzero(is_member)
        order = np.argsort(fields[f"Probability_{treatment['Predicted_MOA']}"].to_numpy()[rows], kind="stable")
        chosen.append((int(rows[order[(len(rows) - 1) // 2]]), treatment["Predicted_MOA"]))
    return chosen


def write(fields: pd.DataFrame, treatments: pd.DataFrame, read: Callable[[int], Tensor], network: MCNN, *,
          classes: list[str], channels: Sequence[str], out: Path, examples: int = 24,
          steps: int = 24) -> list[Example]:
    """Write pictures of examples and gallery.json into out/gallery; file names are numbers. Return the examples.

    read: called with a row of `fields`, returns its normalised field (C, H, W).  steps: of the attribution's integral.
    """
    listing = out / results.GALLERY
    folder = listing.parent
    files.make_output_folder(folder)
    listing.unlink(missing_ok=True)
    for old in folder.glob("[0-9]*.jpg"):
        old.unlink()
    shown = []
    for number, (row, predicted) in enumerate(choose(fields, treatments, examples)):
        field_CHW = read(row)
        attribution = attribute(network, field_CHW, classes.index(predicted), steps=steps)
        shown.append(_example(fields.iloc[row], predicted, attribution,
                              _draw(field_CHW, attribution, channels, folder, number)))
    files.write_json(listing, [example.to_json() for example in shown])
    return shown


def colours(field_CHW: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """Return a field (C, H, W) in colour, (H, W, 3) in 0..1.

    DNA is blue, tubulin green, actin red where all channels have these names; else the first three are in that order.
    """
    names = [name.casefold() for name in channels[:3]]
    is_named = set(names) <= set(palette.CHANNEL_PLANES)
    planes = [palette.CHANNEL_PLANES[name] for name in names] if is_named else [2, 1, 0][:len(names)]
    picture = np.zeros((*field_CHW.shape[1:], 3))
    for plane, channel_HW in zip(planes, field_CHW, strict=False):
        low, high = np.percentile(channel_HW, [1, 99.7])
        picture[..., plane] = np.clip((channel_HW - low) / max(high - low, 1e-6), 0, 1)
    return picture


def overlay(grey_HW: np.ndarray, attribution_hw: Tensor, top: float) -> np.ndarray:
    """Return positive attribution, up to `top`, as a translucent map over a grey picture: (H, W, 3) in 0..1."""
    stretched = torch.nn.functional.interpolate(attribution_hw[None, None].clamp(min=0), grey_HW.shape, mode="bilinear")
    strength_HW = np.clip(stretched[0, 0].numpy() / max(top, 1e-12), 0, 1)
    alpha = OPACITY * strength_HW[..., None]
    return (1 - alpha) * grey_HW[..., None] + alpha * colormaps[palette.ATTRIBUTION_MAP](strength_HW)[..., :3]


def _draw(field_CHW: Tensor, attribution: Attribution, channels: Sequence[str], folder: Path,
          number: int) -> ExampleFiles:
    """Draw the pictures of one example into a folder."""
    picture = colours(field_CHW.numpy(), channels)
    grey_hw = np.asarray(_image(picture, OVERLAY_PX).convert("L")) / 255
    small_Chw = torch.nn.functional.adaptive_avg_pool2d(attribution.channels_CHW, grey_hw.shape)
    names = ExampleFiles(f"{number:03}.jpg", [f"{number:03}-channel-{n}.jpg" for n in range(len(small_Chw))],
                         [f"{number:03}-scale-{n}.jpg" for n in range(len(attribution.scales_7hw))])
    _image(picture, FIELD_PX).save(folder / names.field, quality=QUALITY)
    for names_of_maps, maps in ((names.channels, small_Chw), (names.scales, attribution.scales_7hw)):
        top = float(maps.clamp(min=0).flatten().quantile(0.995))  # one scale of colour for all, so that they compare
        for name, attribution_hw in zip(names_of_maps, maps, strict=True):
            _image(overlay(grey_hw, attribution_hw, top), OVERLAY_PX).save(folder / name, quality=QUALITY)
    return names


def _image(picture_HW3: np.ndarray, longest: int) -> Image.Image:
    image = Image.fromarray((picture_HW3 * 255).round().astype(np.uint8))
    image.thumbnail((longest, longest))
    return image


def _example(row: pd.Series, predicted: str, attribution: Attribution, names: ExampleFiles) -> Example:
    """Return the example of a field, row: of the table of fields."""
    dose = row["Metadata_Concentration"]
    return Example(row["Metadata_Compound"], None if pd.isna(dose) else float(dose), row["Metadata_MOA"], predicted,
                   float(row[f"Probability_{predicted}"]), str(row["Metadata_Plate"]), str(row["Metadata_Well"]),
                   str(row["Metadata_Site"]), _shares(attribution.channels_CHW), _shares(attribution.scales_7hw), names)


def _shares(maps: Tensor) -> list[float]:
    """Return each map's share of absolute attribution; zeros where there is none at all."""
    parts = maps.abs().flatten(1).sum(dim=1, dtype=torch.float64)
    return (parts / parts.sum().clamp(min=1e-300)).tolist()
