import numpy as np
import pytest

from mscnn import config, screen, world
from mscnn.data.images import read_site
from mscnn.errors import DataError

ALONE = world.World(rank=0, size=1, local_rank=0, local_size=1)


def test_a_generic_screen_opens_with_channels_and_shape(tiny_screen):
    table = screen.open_screen(config.Data(sites=str(tiny_screen)), ALONE)
    assert (len(table), table.channels, table.shape) == (12, ("DNA", "RNA"), (2, 128, 128))
    one = screen.open_screen(config.Data(sites=str(tiny_screen), channels="RNA"), ALONE)
    assert (one.channels, one.shape) == (("RNA",), (1, 128, 128))


def test_a_screen_without_known_mechanisms_only_opens_for_prediction(tiny_screen):
    tiny_screen.write_text(tiny_screen.read_text().replace("Metadata_MOA", "Metadata_Other"))
    with pytest.raises(DataError, match="no site has a known mechanism"):
        screen.open_screen(config.Data(sites=str(tiny_screen)), ALONE)
    assert len(screen.open_screen(config.Data(sites=str(tiny_screen)), ALONE, labelled_only=False)) == 12


def test_the_scale_comes_from_the_given_sites_alone(tiny_screen):
    settings = config.Data(sites=str(tiny_screen))
    table = screen.open_screen(settings, ALONE)
    chosen = np.flatnonzero(table.frame["compound"] == "a")
    pixels = np.stack([read_site(files) for files in table.frame["files"][chosen]])
    normalisation = screen.measure(table, chosen, settings, ALONE)
    np.testing.assert_allclose(normalisation.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(normalisation.sd, pixels.std(axis=(0, 2, 3)), rtol=1e-9)


def test_the_shared_fields_and_originals_open(shared_data):
    fields = screen.open_screen(config.Data(sites=str(shared_data / "bbbc021_fields_256" / "labels.csv"),
                                            channels="Actin,Tubulin,DNA"), ALONE)
    assert (len(fields), fields.shape) == (540, (3, 256, 256))
    originals = screen.open_screen(config.Data(sites=str(shared_data / "bbbc021_original_tiff" / "labels.csv")), ALONE)
    assert (len(originals), originals.shape, originals.channels) == (5, (1, 1024, 1280), ("Channel1",))
