import itertools

import numpy as np
from matplotlib.colors import to_rgb

from mscnn.report import palette


def test_a_mechanism_has_one_style_whatever_the_order_and_no_two_have_the_same():
    names = [f"m{number:02}" for number in range(palette.MAX_STYLES)]
    styles = palette.mechanism_styles(names)
    assert styles == palette.mechanism_styles(names[::-1])
    assert len(set(styles.values())) == palette.MAX_STYLES


def test_mechanisms_with_colours_that_the_colour_blind_confuse_have_different_markers():
    """Deuteranopia by Vienot, Brettel & Mollon (1999), in linear RGB; near is a tenth of the cube's side."""
    matrix = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    seen = {}
    for name, (colour, marker) in palette.mechanism_styles([f"m{number:02}" for number in range(12)]).items():
        seen[name] = (matrix @ np.power(to_rgb(colour), 2.2), marker)
    near = [(one, other) for one, other in itertools.combinations(seen, 2)
            if np.linalg.norm(seen[one][0] - seen[other][0]) < 0.1]
    assert all(seen[one][1] != seen[other][1] for one, other in near)
