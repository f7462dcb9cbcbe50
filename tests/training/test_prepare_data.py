from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mscnn.core import config
from mscnn.core.errors import DataError
from mscnn.data import read_screen
from mscnn.data.pixels.augment import Jitter
from mscnn.data.pixels.images import read_site
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.scale import scale_from_record
from mscnn.distributed import world
from mscnn.training import prepare_data
from tests.conftest import make_table

ALONE = world.World(rank=0, size=1, local_rank=0, local_size=1)


def open_screen(path, size=None, **settings):
    return prepare_data.with_shape(prepare_data.load_sites(config.Data(sites=str(path), **settings)), size, ALONE)


def test_a_generic_screen_opens_with_channels_and_shape(tiny_screen):
    table = open_screen(tiny_screen)
    assert (len(table), table.channels, table.shape) == (12, ("DNA", "RNA"), (2, 128, 128))
    one = open_screen(tiny_screen, channels="RNA")
    assert (one.channels, one.shape) == (("RNA",), (1, 128, 128))


def test_a_screen_without_known_mechanisms_only_opens_for_prediction(tiny_screen):
    tiny_screen.write_text(tiny_screen.read_text().replace("Metadata_MOA", "Metadata_Other"))
    with pytest.raises(DataError, match="no site has a known mechanism"):
        open_screen(tiny_screen)
    assert len(read_screen.read_screen(config.Data(sites=str(tiny_screen)))) == 12


@pytest.mark.parametrize("size", [None, (100, 70)])
def test_the_scale_comes_from_the_given_sites_alone_as_the_network_sees_them(tiny_screen, size):
    settings = config.Data(sites=str(tiny_screen), image_size="100x70" if size else "native")
    table = open_screen(tiny_screen)
    for number, files in enumerate(table.frame["files"]):  # pixels that cropping leaves out would show
        pixels = read_site(files[:1])[0]
        pixels[:14] = 60_000 + number
        tifffile.imwrite(files[0], pixels)
    chosen = np.flatnonzero(table.frame["compound"] == "a")
    pixels = np.stack([read_site(files) for files in table.frame["files"][chosen]])
    pixels = pixels[:, :, 14:114, 29:99] if size else pixels
    normalisation = prepare_data.fit_scale(table, chosen, settings, ALONE)
    np.testing.assert_allclose(normalisation.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(normalisation.sd, pixels.std(axis=(0, 2, 3)), rtol=1e-9)


def test_fields_scaled_by_themselves_need_no_reading(tiny_screen):
    table = open_screen(tiny_screen)
    for files in table.frame["files"]:
        for path in files:
            Path(path).unlink()
    settings = config.Data(sites=str(tiny_screen), normalise="field")
    assert prepare_data.fit_scale(table, np.arange(12), settings, ALONE).mode == "field"


def test_images_that_turn_out_damaged_are_all_named(tiny_screen):
    table = open_screen(tiny_screen)
    for site in (2, 5):
        path = table.frame["files"][site][1]
        tifffile.imwrite(path, np.zeros((128, 128), np.uint16), compression="zlib")
        whole = Path(path).read_bytes()
        start = whole.index(b"\x78\x9c") if b"\x78\x9c" in whole else len(whole) - 60
        Path(path).write_bytes(whole[:start] + b"\xff" * 20 + whole[start + 20:])
    with pytest.raises(DataError) as refusal:
        prepare_data.fit_scale(table, np.arange(12), config.Data(sites=str(tiny_screen)), ALONE)
    assert "2 images are damaged" in str(refusal.value)
    assert not refusal.value.this_rank_only


def test_the_shared_fields_and_originals_open(shared_data):
    fields = open_screen(shared_data / "bbbc021_fields_256" / "labels.csv", channels="Actin,Tubulin,DNA")
    assert (len(fields), fields.shape, fields.channels) == (540, (3, 256, 256), ("Actin", "Tubulin", "DNA"))
    originals = open_screen(shared_data / "bbbc021_original_tiff" / "labels.csv")
    assert (len(originals), originals.shape, originals.channels) == (5, (1, 1024, 1280), ("Channel1",))


def test_plates_are_measured_in_their_untreated_wells_and_read_by_their_own_numbers(tiny_screen):
    """Brighter treated wells change nothing; each field is scaled before it is cropped and turned."""
    settings = config.Data(sites=str(tiny_screen), normalise="plate", plate_camera_offset=0)
    table = prepare_data.with_shape(prepare_data.load_sites(settings), None, ALONE)
    training = np.flatnonzero(table.frame["compound"] != "b")
    found = prepare_data.fit_scale(table, training, settings, ALONE)
    controls = np.flatnonzero(table.is_control())
    pixels = np.stack([read_site(table.frame["files"][site]) for site in controls]).astype(float)
    assert found.provenance.measured == {"00123": "wells of DMSO: 3 sites in 3 wells"}
    np.testing.assert_allclose(found.shift_PC[0], pixels.mean(axis=(0, 2, 3)), rtol=0.01)   # a sample of the pixels
    np.testing.assert_allclose(found.scale_PC[0], pixels.std(axis=(0, 2, 3)), rtol=0.15)    # and a fitted light
    site = int(training[0])
    expected = found.apply(read_site(table.frame["files"][site]), "00123")
    plain = FieldReader(table, found, (128, 128)).read(np.array([site]))[0].numpy()
    np.testing.assert_array_equal(plain, expected)
    turned = FieldReader(table, found, None).read(np.array([site]), Jitter(flips=True, quarter_turns=True),
                                                  (3, 0))[0].numpy()
    assert any(np.array_equal(turned, np.rot90(mirrored, turns, axes=(1, 2)))
               for mirrored in (expected, expected[:, ::-1]) for turns in range(4))
    again = scale_from_record(found.to_record())
    np.testing.assert_array_equal(again.apply(read_site(table.frame["files"][site]), "00123"), expected)


def test_untreated_wells_that_would_be_left_out_are_pointed_at(tiny_screen):
    tiny_screen.write_text(tiny_screen.read_text().replace(",DMSO\n", ",\n"))  # their mechanism
    with pytest.raises(DataError, match="3 sites of DMSO, in which plates are measured, have no mechanism"):
        prepare_data.load_sites(config.Data(sites=str(tiny_screen), normalise="plate"))
    assert len(prepare_data.load_sites(config.Data(sites=str(tiny_screen)))) == 9
    label_free = prepare_data.load_sites(config.Data(sites=str(tiny_screen), normalise="plate"), needs_labels=False)
    assert len(label_free) == 12  # reads them all


def test_ranks_find_that_their_images_differ(tiny_screen):
    table = prepare_data.load_sites(config.Data(sites=str(tiny_screen)))
    before = prepare_data.sample_digest(table)
    assert prepare_data.sample_digest(table) == before
    path = Path(table.frame["files"].iat[0][0])
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    assert prepare_data.sample_digest(table) != before


def test_ranks_find_that_their_packs_differ():
    def of(crc32: int) -> str:
        table = make_table([("a", "m"), ("b", "m")])
        return prepare_data.sample_digest(replace(table, frame=table.frame.assign(
            record=[("/node/plate-0001.fields", 0, 7), ("/node/plate-0001.fields", 1, crc32)])))
    assert of(8) == of(8) != of(9)


@pytest.mark.parametrize(("normalise", "kept"), [("dataset", {"a", "b"}), ("plate", {"a", "b", "DMSO"})])
def test_compounds_without_an_assay_are_left_out_but_for_wells_in_which_plates_are_measured(tiny_screen, normalise, kept):
    assays = tiny_screen.with_name("assays.csv")
    assays.write_text("compound,x\na,1\nb,0\nc,\n")
    settings = config.Data(sites=str(tiny_screen), assays=str(assays), normalise=normalise)
    table = prepare_data.load_sites(settings)
    assert set(table.frame["compound"]) == kept
    assert table.classes() == ["x"]
    assert set(prepare_data.load_sites(settings, needs_labels=False).frame["compound"]) == {"a", "b", "c", "DMSO"}
