"""The network."""

from mscnn.model.mcnn import MCNN, require_fitting_size

__all__ = ["MCNN", "require_fitting_size"]
