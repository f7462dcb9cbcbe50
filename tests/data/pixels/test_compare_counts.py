"""Copies of fields on another scale are told from fields of another plate; the oracle is how the copies were made."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from mscnn.core import config
from mscnn.core.errors import DataError
from mscnn.data.pixels.compare_counts import compare, require_same_counts
from mscnn.data.pixels.count_statistics import CountsRecord, field_statistics, summarise
from mscnn.data.pixels.pack import pack
from mscnn.data.read_screen import read_screen
from mscnn.data.tables.site_table import read_sites
from mscnn.distributed.world import World
from mscnn.training import prepare_data
from tests.data.pixels.test_ome_xml import ome

CHANNELS = ("DNA", "Tubulin", "Actin")
STAINS = ((12, 6.0, 1500), (40, 3.0, 4000), (90, 1.5, 2500))  # blobs, sigma in pixels and counts of each channel


def draw(number: int, *, seed: int, gain: float = 1.0, offset: float = 200.0) -> np.ndarray:
    """Return fields (N, 3, 128, 128) of blobs, 12-bit counts; gains vary by 30 % from field to field."""
    rng = np.random.default_rng(seed)
    fields = np.empty((number, 3, 128, 128))
    for position, plane_HW in enumerate(fields.reshape(-1, 128, 128)):
        blobs, sigma, counts = STAINS[position % 3]
        dots = np.zeros((128, 128))
        dots[tuple(rng.integers(0, 128, (2, blobs)))] = 1
        light = ndimage.gaussian_filter(dots, sigma, mode="wrap") * 2 * np.pi * sigma**2
        plane_HW[:] = offset + rng.poisson(light * counts * gain * rng.uniform(0.7, 1.3) + 30)
    return fields.clip(0, 4095).astype(np.uint16)


def record(fields_NCHW: np.ndarray) -> CountsRecord:
    return summarise(np.stack([field_statistics(field) for field in fields_NCHW]), fields_NCHW.dtype.name, [])


TRAINED, OTHERS = draw(24, seed=1), draw(16, seed=2)
TIMES_16 = (OTHERS * 16).astype(np.uint16)
STRETCHED = ((OTHERS - OTHERS.min((2, 3), keepdims=True)) / np.ptp(OTHERS, axis=(2, 3), keepdims=True))
# Each copy, and words of the notes where fields are scaled by themselves.
COPIES = {
    "8 bits, / 16": ((OTHERS >> 4).astype(np.uint8), ["are uint8, the network was trained on uint16", "far from those"]),
    "8 bits, stretched": ((STRETCHED * 255).astype(np.uint8), ["are uint8, the network", "far from those"]),
    "8 bits in 16": (OTHERS >> 4, ["far from those"]),
    "16 bits, stretched": ((STRETCHED * 65535).astype(np.uint16), ["far from those"]),
    "12 bits in 16, x 16": (TIMES_16, ["far from those"]),
    "x 4": (OTHERS * 4, ["far from those"]),
    "/ 4": (OTHERS >> 2, ["far from those"]),
    "256 grey levels": ((OTHERS >> 4) * 16, ["16 counts apart"]),
    "inverted": (4095 - OTHERS, ["far from those", "seem inverted: cells are dark on bright here"]),
    "inverted and 8 bits": (255 - (OTHERS >> 4).astype(np.uint8), ["uint8", "far from", "seem inverted"]),
    "constant": (np.full_like(OTHERS, 300), ["far from those"]),
    "a third is x 16": (np.concatenate([OTHERS[:10], TIMES_16[10:]]), ["of some fields are far from those"]),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_on_another_scale_are_told(copy):
    fields, words = COPIES[copy]
    notes = compare(record(fields), record(TRAINED), CHANNELS, is_measured=True)
    assert len(notes) == len(words)
    for note, word in zip(notes, words, strict=True):
        assert word in note
        assert "\n" not in note


@pytest.mark.parametrize("copy", ["8 bits, / 16", "inverted and 8 bits", "constant"])
def test_copies_that_a_scale_of_the_training_cannot_serve_are_refused(copy):
    with pytest.raises(DataError, match="give the images as the camera wrote them, or train with --normalise field"):
        compare(record(COPIES[copy][0]), record(TRAINED), CHANNELS, is_measured=False)


def test_8_bit_fields_are_refused_where_training_had_16_bits_alone():
    bright, dim = record(TRAINED), record(TRAINED >> 4)
    small = record((OTHERS >> 4).astype(np.uint8))
    with pytest.raises(DataError, match=r"trained on 16-bit counts \(\d+ in the mean of a channel\), the fields here are"):
        compare(small, bright, CHANNELS, is_measured=False)
    (note,) = compare(small, dim, CHANNELS, is_measured=False)  # 16 bits that 8 can hold
    assert "sample type: the images are uint8, the network was trained on uint16" in note
    (note,) = compare(dim, small, CHANNELS, is_measured=False)
    assert "sample type: the images are uint16, the network was trained on uint8 (median counts DNA" in note


@pytest.mark.parametrize("fields", [OTHERS, draw(16, seed=3, gain=1.8), draw(16, seed=4, gain=0.6),
                                    draw(16, seed=5, offset=300), draw(1, seed=6), draw(2, seed=7, gain=1.5)])
def test_other_plates_with_another_lamp_are_no_other_scale(fields):
    for is_measured in (False, True):
        assert compare(record(fields), record(TRAINED), CHANNELS, is_measured=is_measured) == []


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("gain", [1.0, 1.6])
def test_channels_in_another_order_are_named(order, gain):
    fields = draw(16, seed=8, gain=gain)[:, list(order)]
    (note,) = compare(record(fields), record(TRAINED), CHANNELS, is_measured=False)
    assert note.startswith("channels seem to be in another order: ")
    for position, channel in enumerate(order):
        assert (f"{CHANNELS[position]} looks like {CHANNELS[channel]} of the training" in note) == (position != channel)


def test_pixels_of_another_size_are_named_where_both_sizes_are_known():
    def sized(*sizes: float) -> CountsRecord:
        own = record(OTHERS)
        return CountsRecord(dtype=own.dtype, fields=own.fields, channels=own.channels, pixel_sizes=list(sizes))

    for here, before in (([], [0.65]), ([0.65], []), ([0.6501], [0.65]), ([0.65], [0.325, 0.65])):
        assert compare(sized(*here), sized(*before), CHANNELS, is_measured=False) == []
    (note,) = compare(sized(0.325, 0.65), sized(0.65), CHANNELS, is_measured=False)
    assert "pixel size: 0.325 µm here, 0.65 µm in training" in note


def test_a_training_is_resumed_with_the_same_images_alone():
    own = record(TRAINED)
    require_same_counts(record(TRAINED.copy()), own, CHANNELS)
    for other in (OTHERS, TRAINED[:, ::-1], TRAINED * 16, TRAINED >> 8, (TRAINED >> 4).astype(np.uint8)):
        with pytest.raises(DataError, match=r"not those that the run was started with: .*name a new --run-dir"):
            require_same_counts(record(other), own, CHANNELS)


def write(folder: Path, fields_NCHW: np.ndarray, suffix: str = "tif", description: str = "") -> Path:
    """Write fields, a file per channel, and their table; return the CSV."""
    folder.mkdir()
    names = [[f"{number}_{channel}.{suffix}" for channel in CHANNELS] for number in range(len(fields_NCHW))]
    for field, own in zip(fields_NCHW, names, strict=True):
        for plane, name in zip(field, own, strict=True):
            if suffix == "png":
                Image.fromarray(plane).save(folder / name)
            else:
                tifffile.imwrite(folder / name, plane, metadata=None, description=description.encode())
    table = pd.DataFrame(names, columns=[f"FileName_{channel}" for channel in CHANNELS]).assign(
        Metadata_Plate="P", Metadata_Well=[f"B{number:02}" for number in range(1, 1 + len(names))], Metadata_Compound="a",
        Metadata_MOA="m")
    table.to_csv(folder / "sites.csv", index=False)
    return folder / "sites.csv"


def measured(csv: Path | None = None, packed: Path | None = None) -> CountsRecord:
    """Measure the sites of a table or a pack, as training and evaluation do."""
    table = read_screen(config.Table(packed=str(packed))) if packed else read_sites(csv)
    table = prepare_data.with_shape(table, None, World())
    return prepare_data.measure_counts(table, np.arange(len(table)), World())


def test_files_and_packs_are_measured_alike_and_copies_are_told(tmp_path):
    """A PNG or a pack made of 8-bit copies has their sample type; OME-XML and a column of the table give a pixel's size."""
    xml = ome([]).replace("<Pixels ", '<Pixels PhysicalSizeX="0.65" ')
    own = measured(write(tmp_path / "tiff", OTHERS[:6], description=xml))
    assert own.to_json() == {**record(OTHERS[:6]).to_json(), "pixel_sizes": [0.65]}
    csv = write(tmp_path / "png", (OTHERS[:6] >> 4).astype(np.uint8), "png")
    pd.read_csv(csv).assign(Metadata_PixelSize="650 nm").to_csv(csv, index=False)
    table = prepare_data.with_shape(read_sites(csv), None, World())
    pack(table, prepare_data.read_headers(table, World()), tmp_path / "pack", screen="sites")
    small, small_pack = measured(csv), measured(packed=tmp_path / "pack")
    assert small == small_pack
    assert (small.dtype, small.pixel_sizes) == ("uint8", [pytest.approx(0.65)])
    assert "sample type: the images are uint8" in compare(small_pack, own, CHANNELS, is_measured=True)[0]


def test_the_weeks_and_compounds_of_bbbc021_are_no_other_scale(shared_data):
    """Each week and each compound, against all others, and two fields alone; BGR instead of RGB is told."""
    table = read_sites(shared_data / "bbbc021_fields_256" / "labels.csv", channels=("Actin", "Tubulin", "DNA"))
    pixels = [np.moveaxis(np.asarray(Image.open(files[0])), 2, 0) for files in table.frame["files"][::5]]
    statistics_SCK, frame = np.stack([field_statistics(site) for site in pixels]), table.frame[::5].reset_index()

    def of(chosen: np.ndarray) -> CountsRecord:
        return summarise(statistics_SCK[chosen], "uint8", [])

    for column in ("week", "compound"):
        for name in sorted(set(frame[column])):
            is_one = (frame[column] == name).to_numpy()
            for chosen in (np.flatnonzero(is_one), np.flatnonzero(is_one)[:2]):
                assert compare(of(chosen), of(~is_one), table.channels, is_measured=False) == [], (column, name)
    swapped = summarise(statistics_SCK[1::2, ::-1], "uint8", [])
    (note,) = compare(swapped, of(np.arange(0, len(frame), 2)), table.channels, is_measured=False)
    assert "DNA looks like Actin of the training" in note
