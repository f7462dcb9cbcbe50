"""Started as several ranks by test_ranks.py: the choice of ways where ranks see different machines.

choose_the_ways.py OUT CACHE LACKING     LACKING: the rank without a kernel, -1: none
"""

import json
import sys
from pathlib import Path

from mscnn.core import config
from mscnn.distributed import world
from mscnn.model import kernel, measured_ways
from mscnn.model.acceleration import Acceleration
from mscnn.model.ways import DENSE
from mscnn.training.choose_ways import choose_ways


def main(out: str, cache: str, lacking: str) -> None:
    """Write what each rank has chosen, and how often it has measured."""
    ranks = world.init("gloo")
    measured = []

    def measure(candidates, *rest):  # dense is fastest on rank 0, slowest on the others
        measured.append(1)
        return [{way: 5.0 if way != DENSE else 9.0 if ranks.rank else 1.0 for way in of_branch} for of_branch in candidates]

    measured_ways.measure = measure
    kernel.CACHE = Path(cache) / str(ranks.rank)
    kernel.available = lambda: (ranks.rank != int(lacking), "no luck" if ranks.rank == int(lacking) else "here")
    settings = config.from_flat({"preset": "supervised", "sites": "x.csv"})
    found = {}
    for name, numerics in (("new", None), ("resumed", {"gradient": ", ".join(["compiled"] * 3 + ["dense"] * 4)})):
        chosen = choose_ways(settings, (3, 1024, 1280), Acceleration(), ranks, numerics)
        found[name] = {"ways": chosen.ways, "kernel": chosen.kernel, "measured_ms": chosen.gradient.get("measured_ms")}
    everyone = ranks.gather(found | {"measured": len(measured)})
    if ranks.rank == 0:
        Path(out).write_text(json.dumps({"host": ranks.host, "everyone": everyone}))
    ranks.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
