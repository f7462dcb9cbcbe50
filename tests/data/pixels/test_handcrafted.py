"""Fields are drawn so that what is measured is known; lengths are in pixels of a 256x256 field."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage
from skimage.morphology import disk

from mscnn.cli.features import FeaturesSettings
from mscnn.core.errors import DataError, UsageError
from mscnn.data.pixels.handcrafted import RADII, SIGMAS, features, nuclei_channel, of_sites, opened
from mscnn.data.tables.site_table import read_sites
from tests.conftest import run_python

ROWS, COLUMNS = np.mgrid[:256, :256]
CENTRES = [(30, 30), (30, 128), (40, 220), (128, 60), (140, 190), (220, 40), (215, 215)]


def measured(*planes_HW: np.ndarray, channels: tuple[str, ...] = ("DNA", "RNA", "ER")) -> dict[str, float]:
    """Features by their names without Image_Basic_; the first channel shows nuclei."""
    found = features(np.stack(planes_HW), channels=channels[:len(planes_HW)], nuclei=0)
    return {name.removeprefix("Image_Basic_"): value for name, value in found.items()}


def discs(radii: list[float], zoom: int = 1, level: int = 40000) -> np.ndarray:
    """uint16 discs on a dark background, 16-bit, `zoom` times as large in both directions."""
    rows, columns = np.mgrid[:256 * zoom, :256 * zoom]
    inside = sum(np.hypot(rows / zoom - row, columns / zoom - column) < radius
                 for (row, column), radius in zip(CENTRES, radii, strict=True))
    return (2000 + level * inside).astype(np.uint16)


def placed(shapes: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    """Shapes of level 100 on level 10."""
    plane = np.full((256, 256), 10, np.uint8)
    for (row, column), shape in shapes.items():
        plane[row:row + len(shape), column:column + len(shape)] += 90 * shape.astype(np.uint8)
    return plane


@pytest.mark.parametrize("zoom", [1, 2, 5])
def test_seven_discs_are_seven_nuclei_of_their_area_in_a_field_of_any_size(zoom):
    radii = [8, 9, 10, 11, 12, 13, 14]
    found, areas = measured(discs(radii, zoom)), np.pi * np.square(radii)
    assert found["NucleusCount_DNA"] == 7
    assert found["NucleusArea_DNA_mean"] == pytest.approx(areas.mean(), rel=0.03)  # an edge is a pixel wide
    assert found["NucleusArea_DNA_sd"] == pytest.approx(areas.std(), rel=0.03)
    assert found["NucleusCover_DNA"] == pytest.approx(areas.sum() / 256**2, rel=0.03)


def test_what_is_too_small_is_no_nucleus_and_what_touches_is_one():
    assert measured(discs([10] * 5 + [1.5, 1.5]))["NucleusCount_DNA"] == 5
    bridged = discs([10] * 7)
    bridged[28:32, 30:128] = 42000
    assert measured(bridged)["NucleusCount_DNA"] == 6
    found = features(np.stack([discs([10] * 5 + [1, 1]), bridged]), channels=("DNA", "RNA"), nuclei=1)
    assert found["Image_Basic_NucleusCount_RNA"] == 6


@pytest.mark.parametrize("sigma", SIGMAS[1:])
def test_the_band_of_a_wave_is_the_strongest_and_as_strong_as_theory_has_it(sigma):
    """A symmetric kernel leaves the sum of its weights times cosines of a wave, mirrored at the edges as it is."""
    waves = round(256 / (3.3 * sigma))
    wave = 0.25 * np.cos(np.pi * 2 * waves * (COLUMNS + 0.5) / 256)
    found = measured(np.round(65536 * (0.5 + wave)).astype(np.uint16))
    bands = {other: found[f"Band_DNA_{other}"] for other in SIGMAS[1:]}
    assert max(bands, key=bands.get) == sigma

    def left(of: float) -> float:
        steps = np.arange(-100, 101)
        weights = np.exp(-steps**2 / 2 / of**2)
        return weights @ np.cos(2 * np.pi * waves * steps / 256) / weights.sum()
    assert bands[sigma] == pytest.approx(0.25 / np.sqrt(2) * (left(sigma / 2) - left(sigma)), rel=1e-3)  # its tails are cut


def test_an_opening_takes_away_what_its_disc_does_not_fit_in():
    """Single pixels go with radius 1; a disc of 2 fits itself and goes with 4; one of 8 fits itself and stays."""
    points = {(row, column): np.ones((1, 1)) for row in (20, 60, 100) for column in range(20, 120, 4)}
    twos = {(row, column): disk(2) for row in range(140, 240, 10) for column in range(20, 80, 10)}
    eights = {(row, 150): disk(8) for row in (20, 60, 100, 140)}
    found = measured(placed(points | twos | eights))
    light = np.array([len(points), len(twos) * 13, len(eights) * 197]) / (len(points) + len(twos) * 13 + len(eights) * 197)
    assert found["Granularity_DNA_1"] == pytest.approx(light[0])
    assert found["Granularity_DNA_4"] + found["Granularity_DNA_2"] == pytest.approx(light[1], abs=0.1 * light[2])
    assert sum(found[f"Granularity_DNA_{radius}"] for radius in RADII) == pytest.approx(light[:2].sum())
    assert measured(placed(twos))["Granularity_DNA_4"] == pytest.approx(1)
    assert measured(placed(twos) + np.uint8(50))["Granularity_DNA_4"] == pytest.approx(1)  # whatever the background


@pytest.mark.parametrize("shape", [(40, 33), (7, 50), (3, 2), (1, 1)])
def test_an_opening_is_scipys_to_the_last_bit(shape):
    """Also where the disc is larger than the field, and mirrored more than once."""
    plane_HW = np.random.default_rng(0).gamma(2, size=shape)
    for radius in RADII:
        np.testing.assert_array_equal(opened(plane_HW, radius), ndimage.grey_opening(plane_HW, footprint=disk(radius)))


def test_moments_and_percentiles():
    plane = np.zeros((256, 256), np.uint8)
    plane[:64] = 128                                  # a quarter at a half of the range, the rest at 0
    found = measured(plane)
    assert found["Mean_DNA"] == 0.125
    assert found["Sd_DNA"] == pytest.approx(0.5 * np.sqrt(0.25 * 0.75))
    assert found["Skewness_DNA"] == pytest.approx((1 - 2 * 0.25) / np.sqrt(0.25 * 0.75))   # of a Bernoulli variable
    assert found["Kurtosis_DNA"] == pytest.approx((1 - 6 * 0.25 * 0.75) / (0.25 * 0.75))
    assert [found[f"Percentile_DNA_{rank}"] for rank in ("01", "25", "50", "75", "95", "99")] == [0, 0, 0, 0.125, 0.5, 0.5]
    ramp = measured((COLUMNS * 256).astype(np.uint16))
    assert ramp["Percentile_DNA_05"] == pytest.approx(0.05, abs=1 / 256)


def test_channels_are_compared_in_pairs():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 256, 256))
    planes = [np.uint16(30000 + 3000 * plane) for plane in (one, -one, 0.6 * one + 0.8 * other)]
    found = measured(*planes)
    assert found["Correlation_DNA_RNA"] == pytest.approx(-1, abs=1e-6)
    assert found["Correlation_DNA_ER"] == pytest.approx(0.6, abs=0.01)  # its standard error is 0.003
    assert found["Correlation_RNA_ER"] == pytest.approx(-0.6, abs=0.01)
    assert len(found) == 3 * 19 + 3 + 4


@pytest.mark.parametrize("shape", [(256, 256), (1024, 1280), (100, 130), (1, 1)])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_field_has_finite_features(shape, level):
    found = measured(np.full(shape, level, np.uint8), np.full(shape, 3, np.uint8))
    own = {name.removesuffix("_DNA"): value for name, value in found.items() if "DNA" in name and "Percentile" not in name}
    assert own.pop("Mean") == pytest.approx(level / 256)
    assert all(value == pytest.approx(0, abs=1e-12) for value in own.values()), own
    assert found["Percentile_DNA_50"] == pytest.approx(level / 256)


def test_sixteen_bits_of_256_times_the_counts_give_the_same_features():
    narrow = np.random.default_rng(0).integers(0, 256, (2, 200, 300), dtype=np.uint8)
    assert measured(*narrow) == measured(*(narrow.astype(np.uint16) * 256))


def test_a_scene_at_full_size_measures_like_the_same_scene_at_256():
    def scene(height: int, width: int) -> np.ndarray:
        """Blobs, smooth and lumpy ones, at random places of a field of 286 x 229 units."""
        rng, unit = np.random.default_rng(0), np.sqrt(height * width) / 256
        rows, columns = np.mgrid[:height, :width]
        light = np.full((height, width), 0.05)
        for row, column, size in zip(rng.uniform(0, 229, 40), rng.uniform(0, 286, 40), rng.uniform(3, 9, 40), strict=True):
            distance = ((rows + 0.5) / unit - row)**2 + ((columns + 0.5) / unit - column)**2
            light += 0.4 * np.exp(-distance / 2 / size**2)
        return np.uint16(65535 * np.minimum(light, 1))

    small, large = measured(scene(229, 286)), measured(scene(1024, 1280))
    assert large["NucleusCount_DNA"] == small["NucleusCount_DNA"]
    for name, value in small.items():  # resizing smooths a little; hardly more than rounding passes the finest band
        assert large[name] == pytest.approx(value, rel=0.05, abs=2e-3), name


def test_a_field_is_smoothed_before_it_shrinks():
    """A Gaussian of sigma 1.5, as fits a quarter of the size, leaves 1 / (2 sqrt(pi) 1.5) = 0.19 of white noise's sd."""
    noise = np.random.default_rng(0).integers(0, 65536, (1024, 1024), np.uint16)
    assert 0.1 < measured(noise)["Sd_DNA"] / (noise.std() / 65536) < 0.2


def test_which_channel_shows_nuclei():
    assert nuclei_channel(("Actin", "dapi"), None) == 1
    assert nuclei_channel(("Hoechst", "DNA"), "dna") == 1
    for channels, asked in ((("a", "b"), None), (("DNA", "Hoechst"), None), (("DNA", "b"), "nucleus")):
        with pytest.raises(UsageError, match=f"name the channel that shows nuclei with --nuclei: {', '.join(channels)}"):
            nuclei_channel(channels, asked)


def test_the_command_measures_all_sites_of_images_and_packs_alike(tiny_screen, tmp_path):
    table = pd.read_csv(tiny_screen, dtype=str)
    table.loc[[0, 5], "Metadata_MOA"] = ""  # without a mechanism: measured all the same
    table.to_csv(tiny_screen, index=False)
    packing = run_python("-m", "mscnn", "pack", "--sites", tiny_screen, "--only", "all", "--out", tmp_path / "P")
    assert packing.returncode == 0, packing.stderr
    for source, workers, out in ((("--sites", tiny_screen), 1, "a"), (("--packed", tmp_path / "P"), 2, "b")):
        done = run_python("-m", "mscnn", "features", *source, "--workers", workers, "--out",
                          tmp_path / "new" / f"{out}.parquet")
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.parquet", "b.parquet"]
    written = pd.read_parquet(tmp_path / "new" / "a.parquet")
    pd.testing.assert_frame_equal(written, pd.read_parquet(tmp_path / "new" / "b.parquet"))
    assert written["Metadata_Well"].tolist() == table["Metadata_Well"].tolist()
    assert written["Metadata_Plate"].tolist() == ["00123"] * 12
    assert written["Metadata_MOA"].tolist() == table["Metadata_MOA"].tolist()
    for row in (0, 11):
        planes = [tifffile.imread(tmp_path / table[f"FileName_{channel}"][row]) for channel in ("DNA", "RNA")]
        expected = features(np.stack(planes), channels=("DNA", "RNA"), nuclei=0)
        assert written.filter(like="Image_Basic_").iloc[row].to_dict() == expected


def test_all_images_that_cannot_be_decoded_are_named_and_nothing_is_written(tiny_screen, tmp_path):
    table = read_sites(tiny_screen)
    damaged = [table.frame["files"][site][1] for site in (2, 9)]
    for path in map(Path, damaged):
        tifffile.imwrite(path, np.random.default_rng(0).integers(0, 900, (128, 128), np.uint16), compression="zlib")
        raw = path.read_bytes()
        path.write_bytes(raw[:9000] + bytes(40) + raw[9040:])
    with pytest.raises(DataError, match="2 sites cannot be read") as refusal:
        of_sites(table, nuclei=0)
    assert [path in line for path, line in zip(damaged, refusal.value.details, strict=True)] == [True, True]
    done = run_python("-m", "mscnn", "features", "--sites", tiny_screen, "--out", tmp_path / "new" / "f.parquet")
    assert done.returncode == 3
    assert all(path in done.stderr for path in damaged)
    assert not list((tmp_path / "new").iterdir())


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(tiny_screen):
    folder = tiny_screen.parent / ".parquet"
    folder.mkdir()
    for out, options, what in (("sites.csv/f.parquet", (), "a part of it is a file"), (".parquet", (), "is a folder"),
                               ("f.parquet", ("--nuclei", "ER"), "shows nuclei with --nuclei: DNA, RNA")):
        done = run_python("-m", "mscnn", "features", "--sites", tiny_screen, "--out", tiny_screen.parent / out, *options)
        assert done.returncode == 2, done.stderr
        assert what in done.stderr


def test_settings_that_cannot_work_are_refused():
    for values, what in (({"out": "f.csv"}, "out must be a .parquet or .h5ad file"),
                         ({"workers": -1}, "workers must be 0 or more")):
        with pytest.raises(UsageError, match=what):
            FeaturesSettings(**{"sites": "a.csv", "out": "f.parquet"} | values)
