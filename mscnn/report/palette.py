"""All colours of all pictures: told apart by the colour-blind, and one colour per mechanism everywhere."""

# Paul Tol's muted scheme and black, orange and blue of his others (2021).  Greys are left to what is no mechanism.
MECHANISMS = ("#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499", "#4477aa",
              "#ee7733", "#000000")
MARKERS = "osD^vP*X"
MAX_STYLES = 24  # pairs of colour and marker before one comes again: the least common multiple of 12 and 8
# Okabe and Ito's colours (2008), for lines and bars that are no mechanism.
LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
NETWORK, REAL, SHORTCUT = LINES[0], LINES[1], "#bbbbbb"  # classifiers: the network, baselines of two kinds
GREY = "grey"
# Names of matplotlib's colour maps.
SHARE_MAP = "Blues"          # 0 to 1, in confusion matrices
LIGHT_MAP = "PuOr_r"         # illumination fields about their mean
ATTRIBUTION_MAP = "cividis"  # 0 to the largest attribution
CHANNEL_PLANES = {"dna": 2, "tubulin": 1, "actin": 0}  # plane of RGB in which a channel of this name is shown


def short(name: str, letters: int) -> str:
    """Return a name of so many letters at most."""
    return name if len(name) <= letters else name[:letters - 1] + "…"


def mechanism_styles(mechanisms: list[str]) -> dict[str, tuple[str, str]]:
    """Return {mechanism: (colour, marker)} by alphabetical order: the same mechanisms get the same in every picture."""
    return {name: (MECHANISMS[number % len(MECHANISMS)], MARKERS[number % len(MARKERS)])
            for number, name in enumerate(sorted(mechanisms))}
