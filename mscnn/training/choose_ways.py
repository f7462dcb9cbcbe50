"""Choose the way of each branch, alike on all ranks: as the run began, as asked, by counting, or by measuring."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mscnn.core import activity, config
from mscnn.core.logs import log
from mscnn.distributed.world import World
from mscnn.model import kernel, measured_ways, ways, ways_cache
from mscnn.model.acceleration import Acceleration
from mscnn.model.measured_ways import Times
from mscnn.model.ways import BRANCH_CHANNELS

SMALL = 300_000  # pixels of a field; below, ways differ by milliseconds, and counting decides
TORCH = "torch"


@dataclass(frozen=True)
class ChosenWays:
    """The ways of the branches, and what of two choices was asked for, is used, and why."""

    ways: tuple[str, ...]
    gradient: dict[str, Any]   # asked, used, why; measured_ms, where they were measured: the times of each branch by way
    kernel: dict[str, str]     # asked, used, why
    table: list[str]           # lines for the log; none where nothing was measured


def choose_ways(settings: config.Config, shape: tuple[int, int, int], acceleration: Acceleration, ranks: World,
                numerics: dict[str, Any] | None) -> ChosenWays:
    """Choose the way of each branch; a collective.

    shape: channels, height and width of a field; numerics: of the checkpoint that the run resumes from, None where it
    starts.  A resumed run keeps its ways, which decide the last bit, unless a rank lacks the kernel that they need.
    """
    report = report_kernel(settings.network.kernel, ranks)
    use_kernel = TORCH if report["used"] == TORCH else "auto"
    began = () if numerics is None else began_with(numerics)
    lacking = [i for i, way in enumerate(began) if way not in _computable(i, use_kernel)]
    facts: dict[str, Any] = {"why": "as the run began"}
    if began and not lacking:
        chosen = began
    else:
        chosen, facts = _choose_anew(settings, shape, acceleration, ranks, use_kernel)
    if lacking:
        mixed = tuple(chosen[i] if i in lacking else way for i, way in enumerate(began))
        log.warning("gradient: the run began with %s, which needs the kernel (%s); now %s, rounded differently",
                    ", ".join(began), report["why"], ", ".join(mixed))
        chosen, facts = mixed, facts | {"why": f"as the run began where that can be computed; {facts['why']}"}
    elif numerics is not None and not began:
        log.info("gradient: the checkpoint does not name the way of each branch; the ways are chosen anew")
    if report["used"] != TORCH and not any(way not in _computable(i, TORCH) for i, way in enumerate(chosen)):
        report = report | {"used": TORCH, "why": f"no branch uses it ({report['why']})"}
    table = measured_ways.table(facts["measured_ms"], chosen, *_size(settings, shape)) if "measured_ms" in facts else []
    return ChosenWays(chosen, {"asked": settings.network.gradient, "used": ", ".join(chosen), **facts}, report, table)


def report_kernel(asked: str, ranks: World) -> dict[str, str]:
    """Return what was asked for ("auto" or "torch"), what all ranks use, and why; a collective.

    The kernel computes on all ranks, or on none: ranks that compute a branch differently would round differently.
    """
    reports = ranks.gather([ranks.host, kernel.report(asked)])
    for rank, (host, report) in enumerate(reports):
        if report["used"] == TORCH and asked != TORCH:
            return report | ({"why": f"rank {rank} on {host}: {report['why']}"} if ranks.size > 1 else {})
    return reports[0][1]


def began_with(numerics: dict[str, Any]) -> tuple[str, ...]:
    """Return the ways that a checkpoint's numerics name; none where they name no way for each branch.

    Anybody can have made a checkpoint, and older ones say it in other words.
    """
    named = numerics.get("gradient")
    found = tuple(named.split(", ")) if isinstance(named, str) else ()
    return found if len(found) == len(BRANCH_CHANNELS) and all(way in ways.WAYS for way in found) else ()


def _choose_anew(settings: config.Config, shape: tuple[int, int, int], acceleration: Acceleration, ranks: World,
                 use_kernel: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the ways, and why; where they were measured, the times too; a collective."""
    asked, channels, (height, width) = settings.network, shape[0], _size(settings, shape)
    counted = ways.by_counting(asked.gradient, use_kernel, channels, height, width)
    why_not = ("as asked" if asked.gradient != "auto" else "by counting: --kernel torch" if asked.kernel == TORCH else
               "by counting: Intel's extension packs the weights" if acceleration.backend == "ipex" else
               "by counting: a small field" if height * width < SMALL else "")
    if why_not:
        return counted, {"why": why_not}

    def measured() -> tuple[list[Times], str]:
        candidates = ways.candidates_of_all("auto", use_kernel)
        key = ways_cache.key(candidates, channels, height, width, acceleration,
                             keeps_memory=settings.compute.keep_memory)
        with activity.during("timing the ways of the branches"):
            return ways_cache.obtain(key, lambda: measured_ways.measure(candidates, channels, height, width, acceleration))

    times, why = ranks.gather(measured() if ranks.rank == 0 else None)[0]
    return measured_ways.choose(times, channels, height, width), {"why": why, "measured_ms": times}


def _size(settings: config.Config, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return height and width of the field that branch 0 reads."""
    return shape[1] // settings.network.downscale, shape[2] // settings.network.downscale


def _computable(i: int, use_kernel: str) -> Sequence[str]:
    """Return the ways in which branch i can be computed here, slow ones too."""
    return [way for kernels in (use_kernel, TORCH) for way in ways.candidates_of_all("auto", kernels)[i]]
