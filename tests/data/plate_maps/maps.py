"""Write small maps, and read them."""

from pathlib import Path

from mscnn.data.plate_maps.plate_map import PlateMap
from mscnn.data.plate_maps.read_map import read_plate_map


def read_text_map(tmp_path: Path, text: str, name: str = "map.csv", **options) -> PlateMap:
    """Read a map of this text."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_plate_map(tmp_path / name, **options)


def treatments(plate_map: PlateMap) -> dict[str, tuple]:
    """Return {well: (compound, concentration, unit, mechanism)}; a concentration that is not given is None."""
    wells = plate_map.wells
    shown = [f"{plate} {well}".strip() for plate, well in zip(wells["plate"], wells["well"], strict=True)]
    doses = [None if dose != dose else dose for dose in wells["concentration"]]
    return dict(zip(shown, zip(wells["compound"], doses, wells["unit"], wells["mechanism"], strict=True), strict=True))


def reasons(plate_map: PlateMap) -> list[tuple]:
    """Return (row, reason) of each problem."""
    return [(problem.row, problem.reason) for problem in plate_map.problems]
