"""Indexes of Harmony as text, and folders that hold them, for tests."""

from collections.abc import Sequence
from pathlib import Path

from mscnn.data.vendors.planes import Listing, list_folder

V5 = "http://www.perkinelmer.com/PEHH/HarmonyV5"
V7 = "43B2A954-E3C3-47E1-B392-6635266B0DD3/HarmonyV7"
PLATE = ("<Plate><PlateID>id9</PlateID><Name>BR9</Name><PlateRows>8</PlateRows><PlateColumns>12</PlateColumns>"
         '<Well id="0203"/></Plate>')
FACTS = '<ChannelName>DNA</ChannelName><ImageResolutionX Unit="m">6.5E-07</ImageResolutionX>'


def image(url: str = "a.tiff", *, facts: str = FACTS, url_attribute: str = "", **changed: str | int | None) -> str:
    """Return one image: B03, field 4, plane 1, time 0, channel 1 but for what is changed; None leaves an element out."""
    values = {"State": "Ok", "Row": 2, "Col": 3, "FieldID": 4, "PlaneID": 1, "TimepointID": 0, "ChannelID": 1, **changed}
    elements = "".join(f"<{name}>{value}</{name}>" for name, value in values.items() if value is not None)
    return f'<Image Version="1"><id>{url}</id><URL{url_attribute}>{url}</URL>{elements}{facts}</Image>'


def index_text(*images: str, plates: str = PLATE, maps: str = "", namespace: str = V5) -> str:
    """Return an index with these images."""
    return (f'<?xml version="1.0" encoding="utf-8"?>\n<EvaluationInputData xmlns="{namespace}" Version="1">'
            f'<Plates>{plates}</Plates><Wells><Well><id>0203</id><Row>9</Row><Image id="x"/></Well></Wells>'
            f"<Maps>{maps}</Maps><Images>{''.join(images)}</Images></EvaluationInputData>")


def folder(path: Path, files: dict[str, str], images: Sequence[str] = ()) -> Listing:
    """Write text files and empty images below path, and list it."""
    for name, text in {**files, **dict.fromkeys(images, "")}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    return list_folder(path)
