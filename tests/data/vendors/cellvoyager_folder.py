"""Measurements of a CellVoyager as text, and folders that hold them, for tests."""

from collections.abc import Mapping
from pathlib import Path

from mscnn.data.vendors.planes import Listing
from tests.data.vendors.harmony_folder import folder

SPACE = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
PLACE = {"Type": "IMG", "Row": 2, "Column": 3, "FieldIndex": 4, "Ch": 1, "TimePoint": 1, "ZIndex": 1, "TimelineIndex": 1,
         "ActionIndex": 1}


def attributes(values: Mapping[str, str | int | None]) -> str:
    """Return attributes as text; None leaves one out."""
    return " ".join(f'bts:{name}="{value}"' for name, value in values.items() if value is not None)


def record(file: str = "a.tif", **changed: str | int | None) -> str:
    """Return the record of a plane: B03, field 4, channel 1 but for what is changed."""
    return f"<bts:MeasurementRecord {attributes({**PLACE, **changed})}>{file}</bts:MeasurementRecord>\n"


def records(*lines: str) -> str:
    """Return the text of MeasurementData.mlf."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n<bts:MeasurementData {SPACE}>\n{"".join(lines)}</bts:MeasurementData>'


def detail(plate: str = "BR9", *, channels: Mapping[int, str] | None = None, **changed: str | int | None) -> str:
    """Return the text of MeasurementDetail.mrf. channels: the pixel size of each."""
    about = {"Title": "20230918_run", "MeasurementSettingFileName": "s.mes", "RowCount": 8, "ColumnCount": 12,
             "TargetSystem": "CV8000", **changed}
    sizes = "".join(f"<bts:MeasurementChannel {attributes({'Ch': number, 'HorizontalPixelDimension': size})}/>"
                    for number, size in (channels or {1: "0.325", 2: "0.65"}).items())
    return (f"\ufeff<bts:MeasurementDetail {attributes(about)} {SPACE}><bts:MeasurementSamplePlate "
            f'bts:Name="{plate}"/>{sizes}</bts:MeasurementDetail>')


def setting(stains: Mapping[int, str], fluorophores: Mapping[int, str] | None = None) -> str:
    """Return the text of a .mes file."""
    dyes = fluorophores or {}
    channels = "".join(f"<bts:Channel {attributes({'Ch': number, 'Target': stain, 'Fluorophore': dyes.get(number, '')})}/>"
                       for number, stain in stains.items())
    return f"<bts:MeasurementSetting {SPACE}><bts:ChannelList>{channels}</bts:ChannelList></bts:MeasurementSetting>"


def measurement(path: Path, *lines: str, mrf: str | None = None, stains: Mapping[int, str] | None = None,
                images: tuple[str, ...] = ()) -> Listing:
    """Write a measurement below path, in m/, and list it."""
    return folder(path, {"m/MeasurementData.mlf": records(*lines), "m/MeasurementDetail.mrf": mrf or detail(),
                         "m/s.mes": setting(stains or {1: "DNA", 2: "ER"})}, [f"m/{name}" for name in images])
