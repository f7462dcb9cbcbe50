"""The image files of a folder without an index, and those that are none to read: thumbnails, projections, hidden files.

Exercised by `pytest tests/data/vendors/test_file_names.py`.
"""

import re
from collections import Counter

from mscnn.data.vendors.name_patterns import IMAGES
from mscnn.data.vendors.planes import Listing

HIDDEN, THUMBNAIL, DERIVED = "hidden files", "thumbnails", "projections, stitched images and images of corrections"
_CELLOMICS = (".c01", ".dib")
_THUMB = re.compile(r"(?:^|[/_ .-])thumb", re.IGNORECASE)
_DERIVED_FOLDER = re.compile(r"(?:^|/)(?:projections?|montages?|(?:[^/]*_)?stitched)/", re.IGNORECASE)
_DERIVED_NAME = re.compile(  # of CellVoyager; of Gen5; overlays of Cellomics
    r"(?:DC_|SC_BP).*|.*_(?:Stitched|ZProj|Z Proj)\S*\[.*|(?:.*_)?[a-z][0-9]{2}f[0-9]+o[0-9]+\.tiff?", re.IGNORECASE)


def image_files(listing: Listing, *, is_template: bool) -> tuple[list[str], Counter[str]]:
    """Return the image files to read, and how many of which kind were left out.

    is_template: whether a user tells which files: then projections are kept.
    """
    images: list[str] = []
    left_out: Counter[str] = Counter()
    for file in listing.files:
        if not file.lower().endswith(IMAGES):
            continue
        name = file.rpartition("/")[2]
        if "/." in f"/{file}":
            left_out[HIDDEN] += 1
        elif _THUMB.search(file):
            left_out[THUMBNAIL] += 1
        elif not is_template and (_DERIVED_FOLDER.search(file) or _DERIVED_NAME.fullmatch(name)):
            left_out[DERIVED] += 1
        else:
            images.append(file)
    return images, left_out


def cellomics_files(listing: Listing) -> list[str]:
    """Return the files of pixels that only Cellomics programs write."""
    return [file for file in listing.files if file.lower().endswith(_CELLOMICS)]
