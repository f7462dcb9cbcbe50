"""Files that stand in place of images are named for what they are."""

import gzip

import numpy as np
import pytest
import tifffile

from mscnn.core.errors import ImageError
from mscnn.data.pixels.images import read_header

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 2097152\n"


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty"), (bytes(5000), "starts with zeros alone; copy it again"), (LFS, "git lfs pull"),
    (gzip.compress(b"II*\0"), "unpack it"), (b"II*\0\x08\0\0\0", "cut short: it holds no image")],
    ids=["empty", "zeros", "pointer", "packed", "header alone"])
def test_what_is_no_image_is_named(tmp_path, content, reason):
    path = tmp_path / "image.tif"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        read_header(str(path))


@pytest.mark.parametrize("dtype", [bool, np.complex64])
def test_samples_that_no_range_makes_counts_are_refused_without_that_remedy(tmp_path, dtype):
    path = str(tmp_path / "image.tif")
    tifffile.imwrite(path, np.eye(16).astype(dtype), photometric="minisblack")
    with pytest.raises(ImageError, match="no counts; give images of uint8 or uint16") as refused:
        read_header(path)
    assert "ValueRange" not in str(refused.value)
