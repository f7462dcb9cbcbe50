"""How the network runs on this CPU: kernels, memory layout, precision and optimiser; what was asked, used, and why.

Measured by `mscnn bench step`.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from mscnn.model import MCNN
from mscnn.model.ways import DENSE

AnyModule = TypeVar("AnyModule", bound=nn.Module)
AUTO = "other backends are used on request only"
AS_ASKED = "as asked"


@dataclass(frozen=True)
class Acceleration:
    """Kernels, layout and precision of the forward and backward passes. Updates are made to float32 weights."""

    precision: str = "float32"      # or bfloat16, by autocast
    channels_last: bool = True      # oneDNN convolves it without reordering; False only serves comparison
    backend: str = "native"         # PyTorch's own kernels; or ipex: Intel's extension

    def prepare(self, network: AnyModule) -> AnyModule:
        """Lay out the weights in memory."""
        return network.to(memory_format=self._layout())  # pyright: ignore[reportCallIssue]  (torch's stubs lack this overload)

    def take_over(self, network: MCNN, optimiser: torch.optim.Optimizer) -> None:
        """Hand a prepared network and its optimiser to IPEX, in place, before DDP wraps the network; native: do nothing.

        state_dict() of both still returns float32 tensors in the usual shapes.
        """
        if self.backend == "ipex":
            _optimize_by_ipex(network, optimiser, getattr(torch, self.precision))

    def place(self, fields_NCHW: Tensor) -> Tensor:
        """Return a minibatch in the layout of the prepared network."""
        return fields_NCHW.contiguous(memory_format=self._layout())

    def autocast(self) -> AbstractContextManager:
        """Return the context of the forward pass, which sets its precision; the backward pass follows by itself."""
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bfloat16" else nullcontext()

    def _layout(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def choose_acceleration(backend: str, precision: str,
                        cpu_flags: frozenset[str]) -> tuple[Acceleration, dict[str, dict[str, str]]]:
    """Choose the acceleration for a CPU with these feature flags.

    Returns it, and for "accelerate" and "precision" what was asked, is used, and why.  bfloat16 needs AVX512_BF16 or AMX;
    on other CPUs it is slower than float32, which is used instead.
    """
    if backend == "auto":
        backend_used, backend_why = "native", AUTO
    elif backend == "ipex" and (error := ipex_error()):
        backend_used, backend_why = "native", error
    else:
        backend_used, backend_why = backend, AS_ASKED
    if precision == "bfloat16" and not cpu_flags & {"avx512_bf16", "amx_bf16"}:
        used, why = "float32", "no AVX512_BF16 or AMX in this CPU"
    else:
        used, why = precision, AS_ASKED
    return Acceleration(used, backend=backend_used), {
        "accelerate": {"asked": backend, "used": backend_used, "why": backend_why},
        "precision": {"asked": precision, "used": used, "why": why}}


def ipex_error() -> str | None:
    """Import IPEX and return why that fails here; None where it works."""
    remedy = "requirements-ipex.txt makes an environment for it"
    try:
        import intel_extension_for_pytorch  # noqa: F401  # pyright: ignore[reportMissingImports]  (an optional package)
    except Exception as problem:  # beside another version of torch it fails by AttributeError, ImportError and others
        if isinstance(problem, ModuleNotFoundError) and problem.name == "intel_extension_for_pytorch":
            return f"no intel_extension_for_pytorch here; {remedy}"
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        return f"intel_extension_for_pytorch cannot be imported beside torch {torch.__version__} ({reason}); {remedy}"
    return None


def in_float32() -> AbstractContextManager:
    """Return a context in which operations keep the type of their inputs, whatever the precision asked for."""
    return torch.autocast("cpu", enabled=False)


def nesterov_sgd(network: nn.Module, *, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Return SGD with Nesterov momentum, and weight decay on all parameters.

    Fused: one pass over the 160 MiB of the linear layer.
    """
    return torch.optim.SGD(network.parameters(), lr=0.0, momentum=momentum, nesterov=True, weight_decay=weight_decay,
                           fused=True)


def _optimize_by_ipex(network: MCNN, optimiser: torch.optim.Optimizer, precision: torch.dtype) -> None:
    """Pack weights into blocks. Branches with the sparse gradient are left out: they convolve with the plain weights.

    In bfloat16 the network gets copies of the weights, and gradients, in that precision; the optimiser keeps float32
    weights.  Float32 weights under autocast would need no copies, but IPEX 2.8 corrupts memory with packed weights there.
    """
    import intel_extension_for_pytorch as ipex  # pyright: ignore[reportMissingImports]  (an optional package)

    sparse = {i: network.branches[i] for i, way in enumerate(network.ways()) if way != DENSE}
    for i in sparse:
        network.branches[i] = nn.Identity()
    ipex.optimize(network, optimizer=optimiser, dtype=precision, inplace=True, split_master_weight_for_bf16=False)
    for i, branch in sparse.items():
        network.branches[i] = branch
