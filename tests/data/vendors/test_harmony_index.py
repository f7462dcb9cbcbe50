import pytest

from mscnn.core.errors import DataError
from mscnn.data.vendors.harmony_index import read_index
from tests.data.vendors.harmony_folder import FACTS, PLATE, V5, V7, image, index_text


@pytest.fixture
def read(tmp_path):
    """Read the text of an index."""
    def read_text(text):
        (tmp_path / "Index.idx.xml").write_text(text, "utf-8-sig")
        return read_index(tmp_path / "Index.idx.xml")

    return read_text


def test_the_plate_has_its_name_size_and_wells(read):
    plate, = read(index_text(image())).plates
    assert (plate.name, plate.rows, plate.columns, plate.wells) == ("BR9", 8, 12, {"0203"})
    plate, = read(index_text(image(), plates=PLATE.replace("<Name>BR9</Name>", "<Name> </Name>"))).plates
    assert plate.name == "id9"


def test_wells_belong_to_the_plate_that_lists_them(read):
    plates = read(index_text(image(), plates=PLATE + PLATE.replace("0203", "0405"))).plates
    assert [plate.wells for plate in plates] == [{"0203"}, {"0405"}]


def test_references_to_images_within_wells_are_no_images(read):
    assert [record.values["URL"] for record in read(index_text(image("a"), image("b"))).images] == ["a", "b"]


def test_facts_of_a_channel_are_in_its_images_up_to_v5(read):
    content = read(index_text(image(), namespace=V5))
    assert content.version == "Harmony V5"
    assert content.fact(content.images[0], "ChannelName") == ("DNA", "")
    assert content.fact(content.images[0], "ImageResolutionX") == ("6.5E-07", "m")


def test_facts_of_a_channel_are_in_the_maps_from_v6_on_in_whichever(read):
    maps = ('<Map><Entry ChannelID="1"><FlatfieldProfile>{ChannelName: no}</FlatfieldProfile></Entry></Map>'
            f'<Map><Entry ChannelID="2"><ChannelName>RNA</ChannelName></Entry><Entry ChannelID="1">{FACTS}</Entry></Map>')
    content = read(index_text(image(facts=""), image(facts="", ChannelID=2), image(facts="", ChannelID=3), maps=maps,
                              namespace=V7))
    assert content.version == "Harmony V7"
    facts = [[content.fact(one, name) for name in ("ChannelName", "ImageResolutionX")] for one in content.images]
    assert facts == [[("DNA", ""), ("6.5E-07", "m")], [("RNA", ""), ("", "")], [("", ""), ("", "")]]


def test_what_an_image_says_itself_counts_more_than_a_map(read):
    maps = '<Map><Entry ChannelID="1"><ChannelName>other</ChannelName></Entry></Map>'
    content = read(index_text(image(), maps=maps))
    assert content.fact(content.images[0], "ChannelName") == ("DNA", "")


@pytest.mark.parametrize(("namespace", "version"), [
    ("http://www.perkinelmer.com/PEHH/HarmonyV1", "Harmony V1"), ("http://www.perkinelmer.com/Columbus", "Columbus"),
    ("urn:other", "Harmony")])
def test_the_version_is_told_by_the_namespace(read, namespace, version):
    assert read(index_text(image(), namespace=namespace)).version == version


def test_an_index_that_is_cut_short_or_lists_no_images_is_refused(read):
    whole = index_text(image(), image("b.tiff"))
    for length in range(0, len(whole) - 1, 40):
        with pytest.raises(DataError, match="cut short or no XML"):
            read(whole[:length])
    with pytest.raises(DataError, match="lists no images"):
        read(index_text())
    with pytest.raises(DataError, match="starts with AssayLayout, not with EvaluationInputData; name the"):
        read("<AssayLayout/>")
