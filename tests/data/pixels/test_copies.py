"""Copies of images are found by their pixels; images that only look alike to a sample are not."""

import os
import shutil

import numpy as np
import tifffile

from mscnn.data.pixels.copies import find_copied_files, sample_files
from mscnn.data.tables.image_source import ImageSource, Plane, pack_source

RNG = np.random.default_rng(0)


def write(path, pixels, **options):
    tifffile.imwrite(path, pixels, **options)
    return str(path)


def test_copies_links_and_renamed_files_are_found(tmp_path):
    first = write(tmp_path / "a.tif", RNG.integers(0, 4000, (64, 64), dtype=np.uint16))
    write(tmp_path / "b.tif", RNG.integers(0, 4000, (64, 64), dtype=np.uint16))
    shutil.copy(first, tmp_path / "copy.tif")
    os.link(first, tmp_path / "hard.tif")
    (tmp_path / "soft.tif").symlink_to(first)
    paths = sorted(map(str, tmp_path.iterdir()))
    assert find_copied_files(sample_files(paths)) == [
        f"{tmp_path}/{name}.tif: the same pixels as {first}" for name in ("copy", "hard", "soft")]


def test_images_that_differ_in_one_pixel_are_none(tmp_path):
    pixels = np.zeros((256, 256), np.uint16)
    first = write(tmp_path / "a.tif", pixels)
    pixels[0, 0] = 1
    second = write(tmp_path / "b.tif", pixels)
    sampled = sample_files([first, second, str(tmp_path / "missing.tif"), first])
    assert sampled[0][1] == sampled[1][1]  # the samples are black
    assert [path for path, _ in sampled] == [first, second]
    assert find_copied_files(sampled) == []


def test_planes_of_a_copied_file_are_compared_one_with_one(tmp_path):
    """Planes of one file have marks of their own: else each plane would be read for all others."""
    first = write(tmp_path / "a.tif", RNG.integers(0, 4000, (3, 64, 64), dtype=np.uint16), photometric="minisblack")
    second = shutil.copy(first, tmp_path / "copy.tif")
    sources = [pack_source(ImageSource((Plane(str(path), number),))) for path in (first, second) for number in range(3)]
    sampled = sample_files(sources)
    assert len({mark for _, mark in sampled}) == 3
    assert find_copied_files(sampled) == [f"{second} plane {number}: the same pixels as {first} plane {number}"
                                          for number in range(3)]
