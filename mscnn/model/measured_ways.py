"""Time the ways of each branch on this machine: how fast a CPU multiplies depends on the way, which counting cannot see.

Printed by `mscnn bench step`.  C input channels, H W pixels of the field that branch 0 reads.
"""

import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mscnn.model import ways
from mscnn.model.acceleration import Acceleration
from mscnn.model.mcnn import Branch
from mscnn.model.ways import BRANCH_CHANNELS, COARSEST

Times = dict[str, float | None]  # of a branch: by way, milliseconds; None: counted too far above the least to be timed
Seconds = Callable[[str, Callable[[], None]], float]

LIMIT, CHEAP = 6.0, 5e9     # counted so many times above the least, and above so many products, a way is not timed
LIMIT_BFLOAT16 = 16.0       # likewise, dense in bfloat16: so much faster may matrix units (AMX) be than float32 in vectors
GAIN = 0.05                 # of its time, by which another way must be faster than the one that multiplies least
ROUNDS, ENOUGH = 8, 0.4     # turns of a branch's ways after their first pass, fewer after so many seconds
HOPELESS, SHORT = 3.0, 0.1  # a first pass so many times as long as the fastest, and of so many seconds, is the last


def seconds(way: str, action: Callable[[], None]) -> float:
    """Return the wall-clock seconds of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def measure(candidates: Sequence[Sequence[str]], channels: int, height: int, width: int, acceleration: Acceleration,
            seconds: Seconds = seconds) -> list[Times]:
    """Return the times of each branch, forward and backward, for one random field of C x H x W.

    candidates: the ways of each branch; seconds: the time of a way's action.
    """
    found: list[Times] = []
    with torch.random.fork_rng(devices=[]):  # training draws its own numbers, timed or not
        for i, candidate_ways in reversed([*enumerate(candidates)]):  # the small ones start threads and libraries
            field = acceleration.place(torch.randn(1, channels, height >> i, width >> i))
            counted = ways.counted(candidate_ways, i, channels, height, width)
            usual = min(counted, key=lambda way: counted[way])
            passes = {way: _passes(way, i, field, acceleration) for way in candidate_ways
                      if counted[way] <= max(CHEAP, _limit(way, acceleration) * counted[usual])}
            found.append(dict.fromkeys(candidate_ways) | _least_milliseconds(passes, usual, seconds))
    return found[::-1]


def choose(times: Sequence[Times], channels: int, height: int, width: int) -> tuple[str, ...]:
    """Return the fastest way of each branch, and the one that multiplies least where no other is faster by GAIN.

    Times differ a little from one measurement to the next: ways that are equally fast must not change places.
    """
    chosen = []
    for i, of_branch in enumerate(times):
        timed = {way: milliseconds for way, milliseconds in of_branch.items() if milliseconds is not None}
        counted = ways.counted(list(timed), i, channels, height, width)
        usual, fastest = min(timed, key=lambda way: counted[way]), min(timed, key=lambda way: timed[way])
        chosen.append(fastest if timed[fastest] < (1 - GAIN) * timed[usual] else usual)
    return tuple(chosen)


def table(times: Sequence[Times], chosen: Sequence[str], height: int, width: int) -> list[str]:
    """Return lines with the milliseconds of each branch and way, and the way that is used."""
    names = list(dict.fromkeys(way for of_branch in times for way in of_branch))
    lines = [f"{'branch':6} {'pixels':>9}" + "".join(f" {f'{name}, ms':>12}" for name in names) + "  used"]
    for i, of_branch in enumerate(times):
        shown = [_shown(of_branch, name) for name in names]
        lines.append(f"{i:<6} {f'{height >> i}x{width >> i}':>9}" + "".join(f" {each:>12}" for each in shown) +
                     f"  {chosen[i]}")
    return lines


def _shown(of_branch: Times, way: str) -> str:
    if way not in of_branch:
        return "-"
    milliseconds = of_branch[way]
    return "left out" if milliseconds is None else f"{milliseconds:.1f}"


def _limit(way: str, acceleration: Acceleration) -> float:
    return LIMIT_BFLOAT16 if way == ways.DENSE and acceleration.precision == "bfloat16" else LIMIT


def _passes(way: str, i: int, field_1CHW: Tensor, acceleration: Acceleration) -> Callable[[], None]:
    """Return the forward and backward pass of branch i, as in a training step; load what it needs by one window."""
    branch = acceleration.prepare(Branch(field_1CHW.shape[1], BRANCH_CHANNELS[i], COARSEST >> i, way=way))

    def forward_and_backward(pixels_1CHW: Tensor = field_1CHW) -> None:
        with acceleration.autocast():
            maxima = branch(pixels_1CHW)
        maxima.backward(torch.ones_like(maxima))

    forward_and_backward(acceleration.place(field_1CHW[:, :, :COARSEST >> i, :COARSEST >> i]))
    return forward_and_backward


def _least_milliseconds(passes: dict[str, Callable[[], None]], usual: str, seconds: Seconds) -> Times:
    """Return the least time of each way. They take turns, so that a drift of the machine's speed affects all alike.

    usual: the way that multiplies least.
    """
    taken = {way: [seconds(way, action)] for way, action in passes.items()}
    limit = max(HOPELESS * min(first for (first,) in taken.values()), SHORT)
    rivals = {way: action for way, action in passes.items() if way == usual or taken[way][0] <= limit}
    for _ in range(ROUNDS if len(rivals) > 1 else 1):
        for way, action in rivals.items():
            taken[way].append(seconds(way, action))
        if sum(sum(taken[way][1:]) for way in rivals) > ENOUGH:
            break
    return {way: round(1e3 * min(times), 3) for way, times in taken.items()}
