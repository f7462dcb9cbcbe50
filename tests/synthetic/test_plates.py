"""Synthetic plates: the layout is that of BBBC021, the answers are known.  pytest tests/synthetic/test_plates.py"""

import csv
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from mscnn.synthetic.phenotypes import DMSO, MECHANISMS, NUM_ACTIVE_DOSES, at_dose, dose_series, treated
from mscnn.synthetic.plates import CAMERA_OFFSET, camera, write_plates
from mscnn.synthetic.render import render_field
from mscnn.synthetic.screen_plan import DEMO_MECHANISMS, compounds, held_out_compounds

HEADER = ('TableNumber,ImageNumber,"Image_FileName_DAPI","Image_PathName_DAPI","Image_FileName_Tubulin",'
          '"Image_PathName_Tubulin","Image_FileName_Actin","Image_PathName_Actin","Image_Metadata_Plate_DAPI",'
          '"Image_Metadata_Well_DAPI",Replicate,"Image_Metadata_Compound",Image_Metadata_Concentration')
CHANNELS = ("DAPI", "Tubulin", "Actin")


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Four weeks of two plates, tiny fields; returns the folder and the rows of its image.csv."""
    out = tmp_path_factory.mktemp("screen")
    write_plates(out, mechanisms=DEMO_MECHANISMS, compounds_per_mechanism=4, height=48, width=48, nucleus_px=6.0,
                 workers=1)
    with open(out / "BBBC021_v1_image.csv") as f:
        return out, list(csv.DictReader(f))


def nuclei(phenotype, *, nucleus_px=18.0, size=256, fields=4):
    """(areas in px of the nuclei, number of nuclei), measured in drawn fields by thresholding the DNA channel."""
    areas = []
    for seed in range(fields):
        dna = render_field(phenotype, size, size, nucleus_px, np.random.default_rng([seed]))[0]
        labels, _ = ndimage.label(dna > 0.4 * phenotype.dna_intensity)
        areas.append(np.bincount(labels.ravel())[1:])
    areas = np.concatenate(areas)
    areas = areas[areas > 0.05 * nucleus_px**2]                     # dust
    return areas, len(areas)


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path):
    for workers in (1, 2):
        write_plates(tmp_path / str(workers), mechanisms=["Eg5 inhibitors"], compounds_per_mechanism=1,
                     plates_per_week=1, height=32, width=40, seed=5, workers=workers)
    one, two = ({str(p.relative_to(tmp_path / w)): p.read_bytes() for p in (tmp_path / w).rglob("*") if p.is_file()}
                for w in "12")
    assert len(one) == 60 * 3 + 2
    assert one == two


def test_another_seed_draws_other_cells(tmp_path):
    a, b = (render_field(DMSO, 64, 64, 9.5, np.random.default_rng([seed])) for seed in (1, 2))
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.5


def test_csvs_have_the_official_format(screen):
    out, _ = screen
    image, moa = ((out / f"BBBC021_v1_{name}.csv").read_text().splitlines() for name in ("image", "moa"))
    assert image[0] == HEADER
    assert image[1].startswith('1,1,"Week1_150607_B02_s1_w1')
    assert image[1].endswith('"Week1/Week1_22121","Week1_22121","B02",1,"DMSO",0.000000')
    assert moa[0] == '"compound",concentration,"moa"'
    assert '"taxol",0.300000,"Microtubule stabilizers"' in moa
    assert len(moa) == 1 + 6 * 4 * NUM_ACTIVE_DOSES + 1             # header, active doses, DMSO


def test_every_plate_is_laid_out_like_a_real_one(screen):
    _, rows = screen
    assert len(rows) == 4 * 2 * 60
    for plate in {row["Image_Metadata_Plate_DAPI"] for row in rows}:
        here = [row for row in rows if row["Image_Metadata_Plate_DAPI"] == plate]
        treatment = {row["Image_Metadata_Well_DAPI"]:
                     (row["Image_Metadata_Compound"], float(row["Image_Metadata_Concentration"])) for row in here}
        assert sorted(treatment) == [f"{row}{column:02}" for row in "BCDEFG" for column in range(2, 12)]
        assert {w for w, t in treatment.items() if t == ("DMSO", 0)} == {"B02", "C02", "D02", "E11", "F11", "G11"}
        assert all(treatment[w] == ("taxol", 0.3) for w in ("B11", "C11", "D11", "E02", "F02", "G02"))
        for row in "BCDEFG":
            names, doses = zip(*(treatment[f"{row}{column:02}"] for column in range(3, 11)), strict=True)
            assert len(set(names)) == 1
            assert doses == dose_series(names[0])


def test_files_are_16_bit_and_named_as_in_the_archives(screen):
    out, rows = screen
    for row in rows[::37]:
        names = [row[f"Image_FileName_{channel}"] for channel in CHANNELS]
        assert [name.split("_s1_w")[1][0] for name in names] == ["1", "2", "4"]
        assert len({name[-40:] for name in names}) == 3             # the channels do not share a GUID
        plate = row["Image_Metadata_Plate_DAPI"]
        assert names[0].startswith(("B", "C", "D", "E", "F", "G") if plate.startswith("Week4") else plate.split("_")[0])
        for name in names:
            image = tifffile.imread(out / plate / name)
            assert (image.shape, image.dtype) == ((48, 48), np.uint16)
    assert len(list(out.rglob("*.tif"))) == 3 * len(rows)
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize("mechanisms", [DEMO_MECHANISMS, tuple(MECHANISMS), ("Epithelial", "Microtubule stabilizers")])
def test_the_compounds_of_a_mechanism_are_spread_over_the_weeks(mechanisms):
    plan = compounds(mechanisms, 3)
    num_weeks = max(c.week for c in plan)
    assert len(plan) == 6 * num_weeks
    assert Counter(c.mechanism for c in plan if c.mechanism) == dict.fromkeys(mechanisms, 3)
    for mechanism in mechanisms:
        assert len({c.week for c in plan if c.mechanism == mechanism}) == min(3, num_weeks)
    held_out = held_out_compounds(mechanisms, 3)
    assert {c.mechanism for c in plan if c.name in held_out} == set(mechanisms)
    assert "taxol" not in held_out


def test_an_untreated_nucleus_has_the_diameter_asked_for():
    areas, _ = nuclei(replace(DMSO, clustering=0, count=60))
    diameter = np.sqrt(np.median(areas) * 4 / np.pi)
    assert diameter == pytest.approx(18, rel=0.08)                  # the threshold is below half height


def test_dna_damage_enlarges_nuclei_and_thins_the_field():
    untreated, num_untreated = nuclei(DMSO)
    damaged, num_damaged = nuclei(MECHANISMS["DNA damage"])
    assert 1.4 < np.median(damaged) / np.median(untreated) < 2.4    # radius 0.70 instead of 0.50: 1.96; some touch
    assert 0.25 < num_damaged / num_untreated < 0.6                 # count 72 instead of 195: 0.37


def test_nuclear_area_rises_with_dose():
    medians = [np.median(nuclei(at_dose(MECHANISMS["DNA damage"], effect))[0]) for effect in (0, 0.33, 0.67, 1)]
    assert medians == sorted(medians)


@pytest.mark.parametrize("compound", compounds(tuple(MECHANISMS), 3), ids=lambda c: c.name)
def test_annotated_doses_act_and_the_others_hardly(compound):
    look = treated(compound.name, compound.mechanism, compound.doses_uM[0]).count
    effect = [(treated(compound.name, compound.mechanism, dose).count - DMSO.count) / (look - DMSO.count)
              for dose in compound.doses_uM]
    assert effect == sorted(effect, reverse=True)
    assert min(effect[:NUM_ACTIVE_DOSES]) > 0.5
    assert max(effect[NUM_ACTIVE_DOSES:]) < 0.3


def test_illumination_has_mean_one_and_moderate_slopes():
    light = camera(seed=0, week=1, plate="Week1_22121", height=64, width=80).illumination
    np.testing.assert_allclose(light.mean((1, 2)), 1, atol=1e-5)
    assert 0.5 < light.min() < 0.95 < 1.05 < light.max() < 1.3


def test_plate_gains_can_be_read_from_the_dmso_wells(screen):
    out, rows = screen
    plates = sorted({row["Image_Metadata_Plate_DAPI"] for row in rows})
    gain = np.array([camera(0, int(p[4]), p, 48, 48).gain for p in plates])
    bright = []
    for plate in plates:
        wells = [r for r in rows if r["Image_Metadata_Plate_DAPI"] == plate and r["Image_Metadata_Compound"] == "DMSO"]
        fields = [[tifffile.imread(out / plate / r[f"Image_FileName_{c}"]) for c in CHANNELS] for r in wells]
        bright.append(np.percentile(np.array(fields) - CAMERA_OFFSET, 90, axis=(0, 2, 3)))
    measured = np.array(bright) / np.mean(bright, 0) * gain.mean(0)
    assert np.corrcoef(measured.ravel(), gain.ravel())[0, 1] > 0.9
    np.testing.assert_allclose(measured, gain, rtol=0.15)           # six fields a plate, a dozen cells each: sd 4 %


def test_refusals():
    with pytest.raises(ValueError, match="different ones"):
        compounds(["Eg5 inhibitor"], 3)
    with pytest.raises(ValueError, match="at least 2"):
        held_out_compounds(DEMO_MECHANISMS, 1)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        at_dose(DMSO, 1.5)
