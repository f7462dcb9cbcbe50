"""Examples of an evaluation: fields in colour, and what each channel and scale adds to the mechanism they are taken for.

Shapes: C channels, H W pixels, h w of a picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from mscnn.core import files
from mscnn.evaluation.attribution import Attribution, attribute
from mscnn.model import MCNN
from mscnn.report import palette

FIELD_PX, OVERLAY_PX = 384, 192  # longer sides
QUALITY = 85
OPACITY = 0.75
GALLERY = "gallery.json"


def choose(fields: pd.DataFrame, treatments: pd.DataFrame, examples: int = 24) -> list[tuple[int, str]]:
    """Rows (positions) of fields, one a treatment, and what the treatment is taken for; wrong ones first, then by compound
    and concentration.

    Each is the field whose probability of the treatment's predicted mechanism is the (lower) median; ties: table's order.
    """
    keys = ["Metadata_Compound", "Metadata_Concentration"]
    known = treatments[treatments["Metadata_MOA"] != ""].copy()
    known["right"] = known["Metadata_MOA"] == known["Predicted_MOA"]
    chosen = []
    for _, treatment in known.sort_values(["right", *keys], kind="stable").head(examples).iterrows():
        own = np.ones(len(fields), bool)
        for key in (*keys, "Metadata_MOA"):
            own &= (fields[key] == treatment[key]) | (fields[key].isna() & pd.isna(treatment[key]))
        rows = np.flatnonzero(own)
        order = np.argsort(fields[f"Probability_{treatment['Predicted_MOA']}"].to_numpy()[rows], kind="stable")
        chosen.append((int(rows[order[(len(rows) - 1) // 2]]), treatment["Predicted_MOA"]))
    return chosen


def write(fields: pd.DataFrame, treatments: pd.DataFrame, read: Callable[[int], Tensor], network: MCNN, *,
          classes: list[str], channels: Sequence[str], out: Path, examples: int = 24,
          steps: int = 24) -> list[dict[str, Any]]:
    """Write pictures of examples and gallery.json into out/gallery; file names are numbers. Returns the entries.

    read: row of fields -> its normalised field (C, H, W).
    """
    folder = out / "gallery"
    files.make_output_folder(folder)
    for old in (*folder.glob("[0-9]*.jpg"), *folder.glob(GALLERY)):
        old.unlink()
    entries = []
    for number, (row, predicted) in enumerate(choose(fields, treatments, examples)):
        field_CHW = read(row)
        found = attribute(network, field_CHW, classes.index(predicted), steps=steps)
        entries.append(_describe(fields.iloc[row], predicted) | _shares(found)
                       | _draw(field_CHW, found, channels, folder, number))
    files.write_json(folder / GALLERY, entries)
    return entries


def colours(field_CHW: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """(H, W, 3) in 0..1: DNA blue, tubulin green, actin red where all are so named, else the first three in that order."""
    names = [name.casefold() for name in channels[:3]]
    is_named = set(names) <= set(palette.CHANNEL_PLANES)
    planes = [palette.CHANNEL_PLANES[name] for name in names] if is_named else [2, 1, 0][:len(names)]
    picture = np.zeros((*field_CHW.shape[1:], 3))
    for plane, channel_HW in zip(planes, field_CHW, strict=False):
        low, high = np.percentile(channel_HW, [1, 99.7])
        picture[..., plane] = np.clip((channel_HW - low) / max(high - low, 1e-6), 0, 1)
    return picture


def overlay(grey_HW: np.ndarray, attribution_hw: Tensor, top: float) -> np.ndarray:
    """Positive attribution, up to `top`, as a translucent map over a grey picture: (H, W, 3) in 0..1."""
    stretched = torch.nn.functional.interpolate(attribution_hw[None, None].clamp(min=0), grey_HW.shape, mode="bilinear")
    strength_HW = np.clip(stretched[0, 0].numpy() / max(top, 1e-12), 0, 1)
    alpha = OPACITY * strength_HW[..., None]
    return (1 - alpha) * grey_HW[..., None] + alpha * colormaps[palette.ATTRIBUTION_MAP](strength_HW)[..., :3]


def _draw(field_CHW: Tensor, found: Attribution, channels: Sequence[str], folder: Path, number: int) -> dict[str, Any]:
    """Pictures of one example; returns their names."""
    picture = colours(field_CHW.numpy(), channels)
    grey_hw = np.asarray(_image(picture, OVERLAY_PX).convert("L")) / 255
    small_Chw = torch.nn.functional.adaptive_avg_pool2d(found.channels_CHW, grey_hw.shape)
    names = {"field": f"{number:03}.jpg", "channels": [f"{number:03}-channel-{n}.jpg" for n in range(len(small_Chw))],
             "scales": [f"{number:03}-scale-{n}.jpg" for n in range(len(found.scales_7hw))]}
    _image(picture, FIELD_PX).save(folder / names["field"], quality=QUALITY)
    for kind, maps in (("channels", small_Chw), ("scales", found.scales_7hw)):
        top = float(maps.clamp(min=0).flatten().quantile(0.995))  # one scale of colour for all, so that they compare
        for name, attribution_hw in zip(names[kind], maps, strict=True):
            _image(overlay(grey_hw, attribution_hw, top), OVERLAY_PX).save(folder / name, quality=QUALITY)
    return {"files": names}


def _image(picture_HW3: np.ndarray, longest: int) -> Image.Image:
    image = Image.fromarray((picture_HW3 * 255).round().astype(np.uint8))
    image.thumbnail((longest, longest))
    return image


def _describe(about: pd.Series, predicted: str) -> dict[str, Any]:
    """What gallery.json says of a field and of what its treatment is taken for."""
    dose = about["Metadata_Concentration"]
    return {"compound": about["Metadata_Compound"], "concentration": None if pd.isna(dose) else float(dose),
            "mechanism": about["Metadata_MOA"], "predicted": predicted,
            "probability": float(about[f"Probability_{predicted}"]),
            **{name: str(about[f"Metadata_{name.capitalize()}"]) for name in ("plate", "well", "site")}}


def _shares(found: Attribution) -> dict[str, list[float]]:
    """Shares of absolute attribution, by channel and by scale; zeros where there is none at all."""
    shares = {}
    for kind, maps in (("channel_shares", found.channels_CHW), ("scale_shares", found.scales_7hw)):
        parts = maps.abs().flatten(1).sum(dim=1, dtype=torch.float64)
        shares[kind] = (parts / parts.sum().clamp(min=1e-300)).tolist()
    return shares
