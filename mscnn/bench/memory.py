"""Count the bytes of the tensors that are alive at once."""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Record every storage that an operation allocates within the context, and when it is freed.

    Scratch memory that an operation frees before it returns is not recorded.
    """

    def __init__(self):
        super().__init__()
        self.events: list[tuple[int, int]] = []     # (number of a storage, bytes allocated or, negative, freed)
        self._alive: dict[int, int] = {}            # address -> number

    def __torch_dispatch__(self, operation: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Run the operation and record its new storages."""
        inputs = {storage.data_ptr() for storage in _storages((args, kwargs))}
        result = operation(*args, **(kwargs or {}))
        for storage in _storages(result):
            address, size = storage.data_ptr(), storage.nbytes()
            if size and address not in inputs and address not in self._alive:
                self._alive[address] = number = len(self.events)
                self.events.append((number, size))
                weakref.finalize(storage, self._freed, address, number, size)
        return result

    def peak(self, *, without: Iterable[Tensor] = ()) -> int:
        """Return the most bytes that were alive at once, without the given tensors (such as gradients that stay)."""
        left_out = {self._alive.get(tensor.untyped_storage().data_ptr()) for tensor in without}
        most = now = 0
        for number, size in self.events:
            now += 0 if number in left_out else size
            most = max(most, now)
        return most

    def _freed(self, address: int, number: int, size: int) -> None:
        self._alive.pop(address, None)
        self.events.append((number, -size))


def _storages(tree: Any) -> list[Any]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
