"""Python imports this at its start on a virtual node, by PYTHONPATH: a node has the cores that cluster.sh describes.

Ranks plan and tell them as on a true node; nothing is bound, as they share the machine's cores.
"""

import functools
import os
from pathlib import Path

from mscnn.distributed import cpu_topology

cpu_topology.read_topology = functools.partial(cpu_topology.read_topology, Path(os.environ["SLURM_CONF"]).parent)
cpu_topology.allowed_cpus = lambda: frozenset(one.number for one in cpu_topology.read_topology().cpus)
cpu_topology.bind = cpu_topology.bind_loader = lambda cpus: "not bound: a pretended node"
