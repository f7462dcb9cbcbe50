"""One small screen as each microscope would write it, by writers that share nothing with the readers.

Two plates of four wells, two fields a well, two channels; each image is the maximum of two focal planes.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import tifffile
import zarr
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.writer import write_image, write_plate_metadata, write_well_metadata

PLATES = ("BR01", "BR02")
WELLS = {"B02": ("a", "bright", 900), "B03": ("b", "bright", 800), "C02": ("c", "dark", 200), "C03": ("DMSO", "DMSO", 500)}
CHANNELS = ("DNA", "Actin")
PIXEL_SIZE = 0.65  # micrometres


class Field(NamedTuple):
    """One field of view."""

    plate: str
    well: str
    site: int
    planes_CZHW: np.ndarray

    @property
    def row(self) -> int:
        """Row of the well, from 1."""
        return "ABCDEFGH".index(self.well[0]) + 1

    @property
    def column(self) -> int:
        """Column of the well, from 1."""
        return int(self.well[1:])


def fields() -> Iterator[Field]:
    """Yield all fields, the same ones at each call."""
    rng = np.random.default_rng(20)
    for plate in PLATES:
        for well, (_, _, level) in WELLS.items():
            for site in (1, 2):
                yield Field(plate, well, site, rng.poisson(level, (2, 2, 128, 128)).astype(np.uint16))


def fields_of(plate: str) -> list[Field]:
    """Return the fields of one plate."""
    return [field for field in fields() if field.plate == plate]


def write_plate_map(path: Path) -> Path:
    """Write what is in each well of both plates."""
    rows = [["well", "compound", "dose", "moa"], *([well, compound, "" if compound == "DMSO" else "300 nM", moa]
                                                   for well, (compound, moa, _) in WELLS.items())]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    return path


def write_load_data(folder: Path) -> Path:
    """Write the maxima as TIFF files, and a table of them by hand."""
    rows = [[f"{kind}_{channel}" for channel in CHANNELS for kind in ("FileName", "PathName")]
            + [f"Metadata_{name}" for name in ("Plate", "Well", "Site", "Compound", "Concentration", "MOA")]]
    for field in fields():
        (folder / field.plate).mkdir(parents=True, exist_ok=True)
        names = [f"{field.well}_{field.site}_{channel}.tif" for channel in CHANNELS]
        for name, planes_ZHW in zip(names, field.planes_CZHW, strict=True):
            tifffile.imwrite(folder / field.plate / name, planes_ZHW.max(axis=0))
        compound, moa, _ = WELLS[field.well]
        rows.append([value for name in names for value in (name, f"/data/elsewhere/{field.plate}")]
                    + [field.plate, field.well, field.site, compound, "" if compound == "DMSO" else "0.3", moa])
    with (folder / "load_data.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "load_data.csv"


def write_harmony(folder: Path) -> None:
    """Write each plate as a measurement of Harmony."""
    for plate in PLATES:
        images = folder / f"{plate}__2024-01-01T10_00_00-Measurement 1" / "Images"
        images.mkdir(parents=True)
        entries = []
        for field in fields_of(plate):
            for channel, z in np.ndindex(2, 2):
                name = f"r{field.row:02}c{field.column:02}f{field.site:02}p{z + 1:02}-ch{channel + 1}sk1fk1fl1.tiff"
                tifffile.imwrite(images / name, field.planes_CZHW[channel, z], compression="lzw")
                entries.append(
                    f'<Image Version="1"><id>{len(entries)}</id><State>Ok</State><URL>{name}</URL><Row>{field.row}</Row>'
                    f"<Col>{field.column}</Col><FieldID>{field.site}</FieldID><PlaneID>{z + 1}</PlaneID>"
                    f"<TimepointID>0</TimepointID><ChannelID>{channel + 1}</ChannelID><FlimID>1</FlimID>"
                    f"<ChannelName>{CHANNELS[channel]}</ChannelName>"
                    f'<ImageResolutionX Unit="m">{PIXEL_SIZE * 1e-6}</ImageResolutionX></Image>')
        (images / "Index.idx.xml").write_text(
            '\ufeff<?xml version="1.0" encoding="utf-8"?><EvaluationInputData Version="1" '
            f'xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5"><Plates><Plate><PlateID>{plate}</PlateID><Name>{plate}</Name><PlateRows>8</PlateRows>'
            f"<PlateColumns>12</PlateColumns></Plate></Plates><Images>{''.join(entries)}</Images></EvaluationInputData>",
            encoding="utf-8")


def write_metaxpress(folder: Path) -> None:
    """Write each plate as MetaXpress exports it: a folder a focal plane, GUIDs in names, thumbs beside images."""
    for plate in PLATES:
        place = folder / plate
        facts = {"TimePoints": 1, "ZSeries": "TRUE", "ZSteps": 2, "ZProjection": "FALSE", "XWells": 12, "YWells": 8,
                 **{f"WellsSelection{row}": ", ".join("TRUE" if f"{'ABCDEFGH'[row - 1]}{column:02}" in WELLS else "FALSE"
                                                      for column in range(1, 13)) for row in range(1, 9)},
                 "Sites": "TRUE", "XSites": 2, "YSites": 1, "SiteSelection1": "TRUE, TRUE", "Waves": "TRUE",
                 "NWavelengths": 2, "WaveName1": '"DNA"', "WaveName2": '"Actin"'}
        place.mkdir(parents=True)
        lines = ['"HTSInfoFile", Version 1.0', '"Description", "5 \xb5M"',
                 *(f'"{key}", {value}' for key, value in facts.items()), '"EndFile"']
        (place / f"{plate}.HTD").write_bytes("\r\n".join(lines).encode("latin-1"))
        for field in fields_of(plate):
            for channel, z in np.ndindex(2, 2):
                step = place / "TimePoint_1" / f"ZStep_{z + 1}"
                step.mkdir(parents=True, exist_ok=True)
                name = f"{plate}_{field.well}_s{field.site}_w{channel + 1}"
                guid = str(uuid5(NAMESPACE_OID, f"{name}{z}")).upper()
                tifffile.imwrite(step / f"{name}{guid}.tif", field.planes_CZHW[channel, z])
                tifffile.imwrite(step / f"{name}_thumb{guid}.tif", field.planes_CZHW[channel, z, ::8, ::8])


def write_cellvoyager(folder: Path) -> None:
    """Write each plate as a CellVoyager does: records of images, and of an error."""
    schema = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
    for plate in PLATES:
        place = folder / plate
        place.mkdir(parents=True)
        records = ['<bts:MeasurementRecord bts:Type="ERR" bts:Time="2024-01-01T10:00:00" bts:Column="2" bts:Row="2" '
                   'bts:TimePoint="1" bts:FieldIndex="1" bts:ZIndex="1" bts:Ch="1">No focus</bts:MeasurementRecord>']
        for field in fields_of(plate):
            for channel, z in np.ndindex(2, 2):
                name = f"{plate}_{field.well}_T0001F{field.site:03}L01A{channel + 1:02}Z{z + 1:02}C{channel + 1:02}.tif"
                tifffile.imwrite(place / name, field.planes_CZHW[channel, z], byteorder=">")
                records.append(
                    f'<bts:MeasurementRecord bts:Type="IMG" bts:Time="2024-01-01T10:00:00" bts:Column="{field.column}" '
                    f'bts:Row="{field.row}" bts:TimePoint="1" bts:FieldIndex="{field.site}" bts:ZIndex="{z + 1}" '
                    f'bts:TimelineIndex="1" bts:ActionIndex="{channel + 1}" bts:Action="3D" bts:X="0" bts:Y="0" '
                    f'bts:Z="{z}" bts:Ch="{channel + 1}">{name}</bts:MeasurementRecord>')
        (place / "MeasurementData.mlf").write_text(
            f'<?xml version="1.0" encoding="utf-8"?><bts:MeasurementData bts:Version="1.0" {schema}>{"".join(records)}'
            "</bts:MeasurementData>")
        channels = "".join(f'<bts:MeasurementChannel bts:Ch="{number}" bts:HorizontalPixelDimension="{PIXEL_SIZE}" '
                           f'bts:VerticalPixelDimension="{PIXEL_SIZE}" />' for number in (1, 2))
        (place / "MeasurementDetail.mrf").write_text(
            f'<?xml version="1.0" encoding="utf-8"?><bts:MeasurementDetail bts:Version="1.0" bts:Title="{plate}" '
            f'bts:ColumnCount="12" bts:RowCount="8" bts:TimePointCount="1" bts:FieldCount="2" bts:ZCount="2" {schema}>'
            f'<bts:MeasurementSamplePlate bts:Name="{plate}" />{channels}</bts:MeasurementDetail>')


def write_ome_zarr(folder: Path, version: str) -> None:
    """Write each plate as OME-Zarr by the library ome-zarr, with two levels of a pyramid."""
    fmt, zarr_format = (FormatV04(), 2) if version == "0.4" else (FormatV05(), 3)
    window = {"min": 0, "max": 65535, "start": 0, "end": 65535}
    labels = [{"label": name, "color": "FFFFFF", "window": window} for name in CHANNELS]
    for plate in PLATES:
        root = zarr.create_group(folder / f"{plate}.zarr", zarr_format=zarr_format)
        places = {well: f"{well[0]}/{int(well[1:])}" for well in WELLS}
        write_plate_metadata(root, ["B", "C"], ["2", "3"], list(places.values()), fmt=fmt, name=plate)
        for place in places.values():
            write_well_metadata(root.require_group(place), ["0", "1"], fmt=fmt)
        for field in fields_of(plate):
            image = root.require_group(f"{places[field.well]}/{field.site - 1}")
            write_image(field.planes_CZHW, image, fmt=fmt, axes="czyx", scale_factors=[2], omero={"channels": labels},
                        scale={"c": 1.0, "z": 2.0, "y": PIXEL_SIZE, "x": PIXEL_SIZE},
                        axes_units={"z": "micrometer", "y": "micrometer", "x": "micrometer"})
