"""What cells look like under each mechanism of BBBC021, as numbers the renderer can draw, and how dose leads there.

    python -m pytest tests/synthetic/test_plates.py -k dose
"""

import zlib
from dataclasses import dataclass, fields

import numpy as np

NUM_ACTIVE_DOSES = 4        # the highest of eight; only these are annotated with the mechanism


@dataclass(frozen=True, kw_only=True)
class Phenotype:
    """Graded look of one well's cells; defaults are DMSO. Lengths are in diameters of an untreated nucleus (nd)."""

    count: float = 195.0            # cells in 1000 nd^2, about one 1024 x 1280 field at 20x
    clustering: float = 0.45        # log-density contrast of the islands; 0 spreads the cells evenly
    nucleus_radius: float = 0.50    # nd
    nucleus_spread: float = 0.10    # sd of the log of nucleus and cell size between cells
    nucleus_aspect: float = 1.25    # long over short axis
    nucleus_rough: float = 0.02     # relative wobble of the nuclear outline
    dna_intensity: float = 0.50
    chromatin: float = 0.10         # relative contrast of the chromatin texture
    nucleoli: float = 0.30          # depth of the nucleoli, 0..1
    binucleate: float = 0.02        # fraction of cells with two nuclei
    fragmented: float = 0.0         # fraction of nuclei broken into lobes
    micronuclei: float = 0.02       # mean number per cell
    cell_radius: float = 1.38       # nd, where no neighbour is in the way
    cell_aspect: float = 1.35
    spikiness: float = 0.22         # length of the corners of the outline, relative to its radius
    tubulin_intensity: float = 0.32
    tubulin_fibres: float = 0.65    # share of the tubulin in fibres, the rest is diffuse
    tubulin_bundling: float = 0.0   # 0 many fine fibres .. 1 few thick ones
    tubulin_centre: float = 0.8     # extra tubulin around the nucleus
    actin_intensity: float = 0.30
    actin_rim: float = 0.7          # cortex over cytoplasm
    actin_fibres: float = 0.20      # stress fibres
    actin_puncta: float = 0.04
    rounded: float = 0.03           # fraction of cells rounded up: mitotic, or loosely attached
    monoaster: float = 0.0          # fraction of the rounded cells with one pole: ring of DNA, tubulin radiating inside


DMSO = Phenotype()

MECHANISMS: dict[str, Phenotype] = {
    # The cortex collapses into bright clots, cytokinesis fails (two nuclei), cells shrink to branched, spiky remnants.
    "Actin disruptors": Phenotype(
        count=105, clustering=0.8, cell_radius=0.98, spikiness=0.75, binucleate=0.35, actin_rim=0.05,
        actin_fibres=0.0, actin_puncta=0.75, actin_intensity=0.34, tubulin_intensity=0.36, tubulin_centre=1.1),
    # No chromosome segregation: few, very large cells with huge lobed nuclei, hardly a mitosis.
    "Aurora kinase inhibitors": Phenotype(
        count=110, nucleus_radius=0.74, nucleus_rough=0.10, nucleus_spread=0.28, binucleate=0.20, fragmented=0.25,
        micronuclei=0.3, cell_radius=1.75, rounded=0.01, chromatin=0.14),
    # Unprenylated Rho: cells retract to thin bright spindles with long tails, few survive.
    "Cholesterol-lowering": Phenotype(
        count=62, clustering=1.0, nucleus_radius=0.43, nucleus_aspect=1.5, cell_radius=0.88, cell_aspect=2.8,
        spikiness=0.45, tubulin_intensity=0.55, tubulin_fibres=0.35, tubulin_centre=1.2, actin_intensity=0.22,
        actin_fibres=0.05, actin_rim=0.4, rounded=0.08),
    # Arrest in G2: few, flat cells with large, pale, smooth nuclei and clear nucleoli.
    "DNA damage": Phenotype(
        count=72, nucleus_radius=0.70, nucleus_spread=0.18, dna_intensity=0.40, chromatin=0.07, nucleoli=0.55,
        cell_radius=1.85, cell_aspect=1.5, spikiness=0.28, actin_fibres=0.4, tubulin_intensity=0.30, rounded=0.01),
    # Arrest in S: fewer cells, nuclei moderately large and grainy, cells stretched with strong stress fibres.
    "DNA replication": Phenotype(
        count=85, nucleus_radius=0.60, nucleus_spread=0.22, dna_intensity=0.58, chromatin=0.24, cell_radius=1.45,
        cell_aspect=1.9, spikiness=0.42, actin_intensity=0.40, actin_fibres=0.5, micronuclei=0.12, rounded=0.02),
    # Spindle poles never part: clumps of bright round cells, a ring of chromosomes around a single aster.
    "Eg5 inhibitors": Phenotype(
        count=130, clustering=1.1, rounded=0.62, monoaster=0.9, cell_radius=1.15, spikiness=0.30, dna_intensity=0.55,
        micronuclei=0.1),
    # Src inhibited: compact cobblestone islands, actin drawn into the cell-cell junctions, smooth outlines.
    "Epithelial": Phenotype(
        count=165, clustering=1.1, cell_radius=1.0, cell_aspect=1.1, spikiness=0.04, actin_intensity=0.36,
        actin_rim=2.2, actin_fibres=0.0, tubulin_intensity=0.26, tubulin_centre=0.25, nucleus_radius=0.46,
        rounded=0.02),
    # Signalling down: sparser, paler actin, long thin protrusions, small bright nuclei.
    "Kinase inhibitors": Phenotype(
        count=95, clustering=0.3, nucleus_radius=0.45, dna_intensity=0.66, cell_radius=1.15, cell_aspect=2.1,
        spikiness=0.60, actin_intensity=0.18, actin_rim=0.3, actin_fibres=0.1, tubulin_intensity=0.34,
        tubulin_centre=0.3),
    # No microtubules: tubulin diffuse, nuclei broken into micronuclei, cells contracted, many arrested in mitosis.
    "Microtubule destabilizers": Phenotype(
        count=100, nucleus_radius=0.52, fragmented=0.65, micronuclei=0.9, nucleus_rough=0.08, cell_radius=1.0,
        cell_aspect=1.1, spikiness=0.12, tubulin_fibres=0.02, tubulin_centre=0.1, tubulin_intensity=0.24,
        actin_intensity=0.42, actin_fibres=0.55, rounded=0.24, dna_intensity=0.60),
    # Microtubules frozen into thick bundles, mitosis slips: multi-lobed nuclei in cells full of bright cables.
    "Microtubule stabilizers": Phenotype(
        count=82, nucleus_radius=0.56, fragmented=0.55, micronuclei=0.45, nucleus_rough=0.06, cell_radius=1.35,
        tubulin_intensity=0.44, tubulin_fibres=0.9, tubulin_bundling=0.75, tubulin_centre=1.2, actin_intensity=0.22,
        actin_fibres=0.15, rounded=0.10),
    # Proteasome blocked: aggresome beside the nucleus, small shrunken rounding cells, condensed bright DNA.
    "Protein degradation": Phenotype(
        count=75, nucleus_radius=0.42, dna_intensity=0.85, chromatin=0.05, nucleoli=0.1, cell_radius=0.85,
        spikiness=0.35, tubulin_intensity=0.50, tubulin_fibres=0.15, tubulin_centre=2.2, actin_intensity=0.34,
        actin_puncta=0.25, rounded=0.20),
    # No new protein: small separate angular cells, nucleoli gone, tubulin and actin even and dim.
    "Protein synthesis": Phenotype(
        count=88, clustering=0.2, nucleus_radius=0.46, nucleoli=0.0, chromatin=0.20, cell_radius=0.92,
        cell_aspect=1.4, spikiness=0.38, tubulin_intensity=0.25, tubulin_fibres=0.30, tubulin_centre=0.1,
        actin_intensity=0.24, actin_rim=0.5, actin_fibres=0.1, rounded=0.08),
}


def at_dose(phenotype: Phenotype, effect: float) -> Phenotype:
    """Return the phenotype with every parameter on the line from DMSO (effect 0) to the full one (effect 1)."""
    if not 0 <= effect <= 1:
        raise ValueError(f"effect must be in 0..1, got {effect}")
    return Phenotype(**{
        f.name: getattr(DMSO, f.name) + effect * (getattr(phenotype, f.name) - getattr(DMSO, f.name))
        for f in fields(Phenotype)
    })


def hill(dose_uM: float, *, ec50_uM: float, slope: float, strength: float) -> float:
    """Return the effect, from 0 to strength, of a concentration; strength / 2 at ec50_uM."""
    return strength * dose_uM**slope / (dose_uM**slope + ec50_uM**slope)


def treated(compound: str, mechanism: str, dose_uM: float, seed: int = 0) -> Phenotype:
    """Return the phenotype of cells under a compound at a dose: that of DMSO for mechanism "".

    Compounds of one mechanism differ in potency and strength, and mildly in every parameter of the look.
    """
    if not mechanism or dose_uM == 0:
        return DMSO
    rng = np.random.default_rng([seed, 0, zlib.crc32(compound.encode())])
    weakest_active_uM = dose_series(compound)[NUM_ACTIVE_DOSES - 1]
    effect = hill(dose_uM, ec50_uM=weakest_active_uM * rng.uniform(0.62, 0.88), slope=rng.uniform(1.7, 2.2),
                  strength=rng.uniform(0.88, 1.0))
    return at_dose(_varied(MECHANISMS[mechanism], rng, sd=0.06), effect)


def dose_series(compound: str) -> tuple[float, ...]:
    """Return eight descending half-log doses in uM; the top one varies by compound."""
    doses_uM = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
    top = 3 if compound == "taxol" else zlib.crc32(compound.encode()) % 5
    return doses_uM[top : top + 8]


def _varied(phenotype: Phenotype, rng: np.random.Generator, *, sd: float) -> Phenotype:
    """Scale every parameter of the phenotype by its own log-normal factor; fractions stay at most 1."""
    values = {}
    for f in fields(Phenotype):
        value = float(getattr(phenotype, f.name) * np.exp(rng.normal(0, sd)))
        values[f.name] = min(value, 1.0) if f.name in _FRACTIONS else value
    return Phenotype(**values)


_FRACTIONS = ("nucleoli", "binucleate", "fragmented", "tubulin_fibres", "tubulin_bundling", "rounded", "monoaster")
