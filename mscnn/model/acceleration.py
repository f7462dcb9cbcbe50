"""How the network runs on this CPU: kernels, memory layout, precision and optimiser; what was asked for, used, and why.

Measured by `python -m mscnn.bench step`.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mscnn.model import MCNN

AUTO = "the other ways are used on request only"
SHAPES = 64  # minibatches of so many sizes are compiled for; past that, PyTorch goes on without compiling


@dataclass(frozen=True)
class Acceleration:
    """Kernels, layout and precision of the forward and backward passes. Updates are made to float32 weights."""

    precision: str = "float32"      # or bfloat16, by autocast
    channels_last: bool = True      # oneDNN convolves it without reordering; False only serves comparison
    way: str = "native"             # PyTorch's own kernels; compile: fused by its compiler; ipex: Intel's extension

    def prepare(self, network: nn.Module) -> nn.Module:
        """Lay out the weights."""
        return network.to(memory_format=self._layout())

    def take_over(self, network: MCNN, optimiser: torch.optim.Optimizer) -> None:
        """Give a prepared network and its optimiser to the compiler or to IPEX, in place, before ranks are wrapped around.

        What state_dict() of both returns stays as it was: float32, in the usual shapes.
        """
        if self.way == "compile":
            _compile(network)
        elif self.way == "ipex":
            _give_to_ipex(network, optimiser, getattr(torch, self.precision))

    def place(self, fields_NCHW: Tensor) -> Tensor:
        """A minibatch in the layout of the prepared network."""
        return fields_NCHW.contiguous(memory_format=self._layout())

    def autocast(self) -> AbstractContextManager:
        """The precision of the forward pass; backward follows by itself."""
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bfloat16" else nullcontext()

    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def choose_acceleration(way: str, precision: str,
                        cpu_flags: frozenset[str]) -> tuple[Acceleration, dict[str, dict[str, str]]]:
    """The acceleration for a CPU with these feature flags; and of the way and the precision what was asked, used and why.

    bfloat16 needs AVX512_BF16 or AMX; where neither is there it would be slower than float32, which is used instead.
    """
    if way == "auto":
        way_used, way_why = "native", AUTO
    else:
        problem = obstacle(way)
        way_used, way_why = ("native", problem) if problem else (way, "as asked")
    if precision == "bfloat16" and not cpu_flags & {"avx512_bf16", "amx_bf16"}:
        used, why = "float32", "no AVX512_BF16 or AMX in this CPU"
    else:
        used, why = precision, "as asked"
    return Acceleration(used, way=way_used), {"accelerate": {"asked": way, "used": way_used, "why": way_why},
                                          "precision": {"asked": precision, "used": used, "why": why}}


def obstacle(way: str) -> str | None:
    """Why a way cannot be had here, found by trying; None where it can."""
    try:
        if way == "compile":
            unheard = time.time_ns()  # a constant that no cached kernel holds, so that the C++ compiler really runs
            torch.compile(lambda tensor: tensor * unheard)(torch.ones(2))
        elif way == "ipex":
            import intel_extension_for_pytorch  # noqa: F401
    except Exception as problem:  # IPEX beside another torch fails by AttributeError, compilers by any kind of error
        if isinstance(problem, ModuleNotFoundError) and problem.name == "intel_extension_for_pytorch":
            return "no intel_extension_for_pytorch here; requirements-ipex.txt makes an environment for it"
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        if way == "compile":
            return f"torch.compile fails here ({reason}); it needs a C++ compiler, such as Debian's g++"
        return (f"intel_extension_for_pytorch cannot be imported beside torch {torch.__version__} ({reason}); "
                "requirements-ipex.txt makes an environment for it")
    return None


def nesterov_sgd(network: nn.Module, *, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """SGD with Nesterov momentum and weight decay on all parameters, fused: one pass over the 160 MiB linear layer."""
    return torch.optim.SGD(network.parameters(), lr=0.0, momentum=momentum, nesterov=True, weight_decay=weight_decay,
                           fused=True)


def _compile(network: MCNN) -> None:
    """Compile the branches with the dense gradient; the others stop the compiler."""
    torch._dynamo.config.recompile_limit = SHAPES
    for branch in network.branches:
        if not branch.sparse:
            branch.compile(dynamic=False)


def _give_to_ipex(network: MCNN, optimiser: torch.optim.Optimizer, precision: torch.dtype) -> None:
    """Pack weights into blocks. Branches with the sparse gradient are left out: they convolve with the plain weights.

    In bfloat16 the network gets copies of the weights, and gradients, in that precision; the optimiser keeps float32 ones.
    Float32 weights under autocast would do without, but IPEX 2.8 corrupts memory with packed weights there.
    """
    import intel_extension_for_pytorch as ipex

    sparse = {i: network.branches[i] for i in network.sparse_branches()}
    for i in sparse:
        network.branches[i] = nn.Identity()
    ipex.optimize(network, optimizer=optimiser, dtype=precision, inplace=True, split_master_weight_for_bf16=False)
    for i, branch in sparse.items():
        network.branches[i] = branch
