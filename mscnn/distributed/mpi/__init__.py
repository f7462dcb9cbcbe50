"""A torch.distributed process group over mpi4py; it knows nothing of cells."""
