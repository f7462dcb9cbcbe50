"""Started as one or several ranks by test_collectives.py: each collective against a result worked out by hand.

check_collectives.py gloo|mpi   prints, on rank 0, how many cases held; a case that fails ends it with exit code 1
"""

import gc
import sys
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from torch.distributed import ReduceOp

from mscnn.distributed import launchers
from mscnn.distributed.mpi import process_group
from tests.mpi.check_training import training

# N ranks, this one is r.  Rank r brings r + 1 unless said otherwise, so that a sum is N (N + 1) / 2 and no two alike.
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
Case = tuple[str, torch.Tensor, torch.Tensor]  # name, what came, what should have

GLOO_CANNOT = {  # left out over gloo, as measured with PyTorch 2.13
    "layouts": "silently mixes up elements whose layouts differ between ranks, and adds what lies between strided ones",
    "parts": "silently writes scattered and reduced parts as if they were row-major",
    "halves": "silently rounds 16-bit floats after each addition, and averages by more than the result's rounding",
    "refusals": "these are messages of our own", "unsupported": "gloo has them",
    torch.int16: "refuses it",
    "SUM bool": "silently leaves a byte of 3 where three are True",
}


def full(value: float, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """A tensor of one value, made in float64, which holds all values here."""
    return torch.full(shape, value, dtype=torch.float64).to(dtype)


def integers() -> list[torch.dtype]:
    """Those the backend can add."""
    return [dtype for dtype in INTEGERS if dist.get_backend() != "gloo" or dtype not in GLOO_CANNOT]


def types(r: int, N: int) -> Iterator[Case]:
    """Each type: scalars, nothing, sizes that no number of ranks divides. Elements differ, so a misplaced one shows."""
    for dtype in (*FLOATS, *integers()):
        for shape in ((), (0,), (1,), (7,), (3, 0, 2), (2, 3, 5), (100_003,)):
            pattern = torch.arange(torch.Size(shape).numel()).view(shape) % 5 + 1
            tensor = (pattern * (r + 1)).to(dtype)
            dist.all_reduce(tensor)
            yield f"sum {dtype} {shape}", tensor, (pattern * (N * (N + 1) // 2)).to(dtype)
        for op, expected in ((ReduceOp.MIN, 1), (ReduceOp.MAX, N)):
            tensor = full(r + 1, dtype, 3)
            dist.all_reduce(tensor, op)
            yield f"{op} {dtype}", tensor, full(expected, dtype, 3)
    for dtype in FLOATS:
        tensor = full(2 * r, dtype, 5)
        dist.all_reduce(tensor, ReduceOp.AVG)
        yield f"average {dtype}", tensor, full(N - 1, dtype, 5)


def truth(r: int, N: int) -> Iterator[Case]:
    """Operations on bool; True + True is True."""
    alone = N == 1
    for op, expected in {ReduceOp.SUM: (True, False, True), ReduceOp.MAX: (True, False, True),
                         ReduceOp.MIN: (alone, False, True)}.items():
        if dist.get_backend() == "gloo" and f"{op.name} bool" in GLOO_CANNOT:
            continue
        values = torch.tensor([r == 0, False, True])
        dist.all_reduce(values, op)
        yield f"{op} bool, in bytes", values.view(torch.uint8), torch.tensor(expected).to(torch.uint8)


def order(r: int, N: int) -> Iterator[Case]:
    """Several at once, and groups of some ranks."""
    many = [torch.full((1000 + k,), float(r + k)) for k in range(8)]
    works = [dist.all_reduce(tensor, async_op=True) for tensor in many]
    for k in reversed(range(8)):
        works[k].wait()
        yield f"asked at once {k}", many[k], torch.full((1000 + k,), float(sum(range(k, N + k))))
        yield f"done {k}", torch.tensor(works[k].is_completed()), torch.tensor(True)
    parameter = torch.nn.Parameter(torch.full((3, 2), float(r + 1)).t())
    with torch.no_grad():
        dist.broadcast(parameter, N - 1)
    yield "a parameter", parameter.detach(), torch.full((2, 3), float(N))
    for group in (dist.new_group([0]), dist.new_group(list(range(N))), dist.new_group(sorted({N - 1, 0}))):
        if group != dist.GroupMember.NON_GROUP_MEMBER:
            tensor, members = torch.tensor([float(r)]), dist.get_process_group_ranks(group)
            dist.all_reduce(tensor, group=group)
            yield f"sum of ranks {members}", tensor, torch.tensor([float(sum(members))])
            dist.broadcast(tensor.fill_(r), members[-1], group=group)
            yield f"broadcast among ranks {members}", tensor, torch.tensor([float(members[-1])])
    last = dist.new_group([N - 1])
    if r == N - 1:
        dist.destroy_process_group(last)
    dist.barrier()


def movements(r: int, N: int) -> Iterator[Case]:
    """Data moved between ranks; each element tells its sender, receiver and index."""
    for root in range(N):
        for dtype in (torch.float32, torch.int64, torch.float16, torch.uint8):
            tensor = torch.tensor([r + 1, 7 * r, 3]).to(dtype)
            dist.broadcast(tensor, root)
            yield f"broadcast {dtype} from {root}", tensor, torch.tensor([root + 1, 7 * root, 3]).to(dtype)
    parts = [torch.zeros(2, dtype=torch.int32) for _ in range(N)]
    dist.all_gather(parts, torch.tensor([r, 10 * r], dtype=torch.int32))
    yield "all_gather", torch.stack(parts), torch.tensor([[k, 10 * k] for k in range(N)], dtype=torch.int32)
    whole = torch.zeros(2 * N)
    dist.all_gather_into_tensor(whole, torch.tensor([r, 10.0 * r]))
    yield "all_gather_into_tensor", whole, torch.tensor([[k, 10.0 * k] for k in range(N)]).view(-1)
    part = torch.zeros(2)
    dist.reduce_scatter_tensor(part, torch.arange(2.0 * N) * (r + 1))
    yield "reduce_scatter_tensor", part, torch.tensor([2.0 * r, 2.0 * r + 1]) * (N * (N + 1) / 2)
    dist.reduce_scatter(part, [torch.tensor([k, r + 1.0]) for k in range(N)])
    yield "reduce_scatter", part, torch.tensor([float(N * r), N * (N + 1) / 2])
    rows = torch.zeros(N, 2)
    dist.all_to_all_single(rows, torch.tensor([[r, k] for k in range(N)]).float())
    yield "all_to_all_single", rows, torch.tensor([[k, r] for k in range(N)]).float()
    uneven = torch.zeros(N * (r + 1))  # each rank sends k + 1 elements to rank k
    dist.all_to_all_single(uneven, torch.full((N * (N + 1) // 2,), float(r)), [r + 1] * N, list(range(1, N + 1)))
    yield "all_to_all_single, uneven", uneven, torch.arange(float(N)).repeat_interleave(r + 1)
    objects = [None] * N
    dist.all_gather_object(objects, {"rank": r, "text": "µ" * 100 * r})
    yield "all_gather_object", torch.tensor([o["rank"] for o in objects]), torch.arange(N)


def layouts(r: int, N: int) -> Iterator[Case]:
    """Tensors that are not row-major, each element its own value; what lies between the elements stays."""
    plain = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    total = N * (N + 1) / 2
    for name, lay in {
        "channels_last": lambda t: t.clone().contiguous(memory_format=torch.channels_last),
        "channels_last on odd ranks only": lambda t: t.clone().contiguous(
            memory_format=torch.channels_last if r % 2 else torch.contiguous_format),
        "transposed": lambda t: t.clone().transpose(0, 1).contiguous().transpose(0, 1),
        "every other column": lambda t: torch.stack([t, -torch.ones_like(t)], -1)[..., 0],
        "from the middle": lambda t: torch.cat([-torch.ones_like(t), t, -torch.ones_like(t)])[2:4],
    }.items():
        for dtype in (torch.float32, torch.bfloat16):
            tensor = lay((plain % 16 * (r + 1)).to(dtype))
            dist.all_reduce(tensor)
            yield f"sum {name} {dtype}", tensor, (plain % 16 * total).to(dtype)
            if tensor._base is not None and tensor._base.numel() > tensor.numel():
                rest = tensor._base.double().sum() - tensor.double().sum()
                yield f"beside {name} {dtype}", rest, torch.tensor(tensor.numel() - tensor._base.numel()).double()
        tensor = lay(plain * (r + 1))
        dist.broadcast(tensor, N - 1)
        yield f"broadcast {name}", tensor, plain * N


def parts(r: int, N: int) -> Iterator[Case]:
    """Collectives of several tensors, strided ones, to and from."""
    def strided(value: float) -> torch.Tensor:
        return torch.tensor([[value, 1.0, -1.0], [2, 10 * value, -1]])[:, :2].t()
    came = [strided(-9) for _ in range(N)]
    dist.all_gather(came, strided(r))
    yield "all_gather", torch.stack(came), torch.stack([strided(k) for k in range(N)])
    whole = torch.zeros(2, 2 * N).t()
    dist.all_gather_into_tensor(whole, strided(r))
    yield "all_gather_into_tensor", whole, torch.cat([strided(k) for k in range(N)])
    one = strided(-9)
    dist.reduce_scatter(one, [strided(k) for k in range(N)])
    yield "reduce_scatter", one, strided(r) * N
    whole = torch.zeros(2, 2 * N).t()
    dist.all_to_all_single(whole, torch.cat([strided(k) for k in range(N)]))
    yield "all_to_all_single", whole, torch.cat([strided(r)] * N)
    came = [strided(-9) for _ in range(N)]
    dist.all_to_all(came, [strided(k + 10 * r) for k in range(N)])
    yield "all_to_all", torch.stack(came), torch.stack([strided(r + 10 * k) for k in range(N)])


def halves(r: int, N: int) -> Iterator[Case]:
    """Half floats are added in float32 and rounded once: the exact sum of all ranks' numbers, to the nearest half."""
    for dtype in (torch.bfloat16, torch.float16):
        for count in (1, 2, 100_003):
            brought = [torch.randn(count, generator=torch.Generator().manual_seed(k)).to(dtype) for k in range(N)]
            exact = torch.stack(brought).double().sum(0)
            for op, expected in ((ReduceOp.SUM, exact), (ReduceOp.AVG, exact / N)):
                tensor = brought[r].clone()
                dist.all_reduce(tensor, op)
                # Half a step between neighbours, and as much again of float32's own rounding for numbers near a tie.
                off = (tensor.double() - expected).abs() / (expected.abs() * torch.finfo(dtype).eps / 2 + 1e-6)
                yield f"{op} of {count} {dtype}, {off.max():.4f} of half a step off", off.max() < 1.01, torch.tensor(True)
            copies = [torch.empty_like(tensor) for _ in range(N)]
            dist.all_gather(copies, tensor)
            yield f"the same bits {dtype}", torch.stack(copies), tensor.expand(N, -1)
        part = torch.zeros(2, dtype=dtype)
        dist.reduce_scatter_tensor(part, (torch.arange(2 * N) * (r + 1)).to(dtype))
        yield f"reduce_scatter {dtype}", part, (torch.tensor([2 * r, 2 * r + 1]) * (N * (N + 1) // 2)).to(dtype)


def refusals(r: int, N: int) -> Iterator[Case]:
    """What MPI cannot do is refused in one line before anything is sent, and the group works on."""
    for name, words, ask in (
        ("average of integers", "no AVG of torch.int64", lambda: dist.all_reduce(torch.tensor([1]), ReduceOp.AVG)),
        ("bits", "no BOR of torch.int64", lambda: dist.all_reduce(torch.tensor([1]), ReduceOp.BOR)),
        ("eight bits", "convert this torch.float8_e5m2", lambda: dist.broadcast(torch.zeros(2).to(torch.float8_e5m2), 0)),
        ("sparse", "torch.sparse_coo", lambda: dist.broadcast(torch.eye(2).to_sparse(), 0)),
        ("too long", "split the tensors", lambda: dist.all_reduce(torch.zeros(1, dtype=torch.uint8).expand(2**31))),
        ("little room", "5 elements where", lambda: dist.all_gather_into_tensor(torch.zeros(5), torch.zeros(6))),
        ("much room", "50 elements where", lambda: dist.all_gather_into_tensor(torch.zeros(50), torch.zeros(6))),
        ("two types", "convert to one type", lambda: dist.all_gather_into_tensor(torch.zeros(N), torch.zeros(1).double())),
        ("uneven rows", f"{N + 1} rows for {N} ranks" if N > 1 else "", lambda: dist.all_to_all_single(
            torch.zeros(N + 1), torch.zeros(N + 1))),
    ):
        yield refusal(name, words, ask)


def unsupported(r: int, N: int) -> Iterator[Case]:
    """Collectives that the group does not implement are refused in one line, and no rank waits."""
    two, other = torch.zeros(2), (r + 1) % max(N, 2)
    copies = [torch.zeros(2) for _ in range(N)]
    for name, instead, ask in (
        ("reduce", "all_reduce", lambda: dist.reduce(two, 0)),
        ("gather", "all_gather", lambda: dist.gather(two, copies if r == 0 else None, 0)),
        ("scatter", "all_to_all", lambda: dist.scatter(two, copies if r == 0 else None, 0)),
        ("send", "all_to_all", lambda: dist.send(two, other)),
        ("recv", "all_to_all", lambda: dist.recv(two, other)),
        ("recv from any rank", "all_to_all", lambda: dist.recv(two)),
        ("coalesced all_reduce", "all_reduce", lambda: dist.all_reduce_coalesced([two])),
        ("coalesced all_gather", "all_gather", lambda: dist.all_gather_coalesced([copies], [two])),
    ):
        if N > 1 or name not in ("send", "recv"):  # torch itself refuses a rank that there is not
            yield refusal(name, f"{name} over MPI is not implemented; use {instead}, or the backend gloo", ask)
    dist.barrier()


def refusal(name: str, words: str, ask: Callable[[], object]) -> Case:
    """A case that holds where the call raises a ValueError of one line with these words."""
    message = ""
    try:
        ask()
    except ValueError as problem:
        message = str(problem)
    return f"{name}: {message!r}", torch.tensor(words in message and "\n" not in message), torch.tensor(True)


def main(backend: str) -> None:
    """Run the cases on all ranks; print those that failed."""
    if backend == "mpi":
        process_group.start(timeout_seconds=60)
    else:
        dist.init_process_group(backend)
    r, N = dist.get_rank(), dist.get_world_size()
    held, failed = 0, []
    for group in (types, truth, order, movements, layouts, parts, halves, refusals, unsupported, training):
        if backend == "gloo" and group.__name__ in GLOO_CANNOT:
            continue
        for name, came, expected in group(r, N):  # a case that fails does not keep this rank from those that follow
            if came.dtype == expected.dtype and torch.equal(came, expected):
                held += 1
            else:
                failed.append(f"rank {r} of {N}, {group.__name__}, {name}: {came.flatten()[:5].tolist()} {came.dtype}, "
                              f"expected {expected.flatten()[:5].tolist()} {expected.dtype}")
    gc.collect()  # DDP's, before the group goes: gloo's threads may abort a process that exits early
    dist.barrier()
    dist.destroy_process_group()
    launchers.abort_at_exit(0)
    if r == 0:
        print(f"{held} cases held")
    sys.exit("\n".join(failed) or 0)


if __name__ == "__main__":
    main(sys.argv[1])
