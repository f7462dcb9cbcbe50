"""The rendezvous of the ranks: a store that all of them reach, and which ranks have arrived.

The store listens at one address.  Its keys start with a digest of the job's nonce, so that jobs on one port stay apart.
This does not stop an attacker on the network: nothing is encrypted or signed.
"""

import datetime
import hashlib
import ipaddress
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch.distributed as dist

from mscnn.core.errors import UsageError
from mscnn.distributed import network
from mscnn.distributed.launchers import SRUN, TORCHRUN, RankInfo, hosts

FIRST_PORT, NUM_PORTS = 20000, 12000  # of jobs under srun: below those that Linux hands out
# Variables that a launcher sets alike for all ranks of a job, and differently for each job and each restart.
_JOB_VARIABLES = {TORCHRUN: ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT"),
               SRUN: ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")}
_POLL = 0.1                           # seconds between two checks
_GIVEN_UP = "given-up"                # a key of the store


class RendezvousError(UsageError):
    """A failed rendezvous. this_rank_only: other ranks may not know of it, so this one reports it."""

    def __init__(self, message: str, *, this_rank_only: bool):
        super().__init__(message)
        self.this_rank_only = this_rank_only


@dataclass(frozen=True)
class Endpoint:
    """Where the ranks of a job find its store."""

    host: str
    port: int                               # 0: any free port
    opens: bool = True                      # rank 0 opens the store; False: torchrun's agent has, on all interfaces
    others: tuple[str, ...] = ()            # known hosts of the job besides that of rank 0
    nonce: str = field(default="", repr=False)      # see nonce()


def endpoint(info: RankInfo, environment: Mapping[str, str]) -> Endpoint:
    """Return the endpoint of the rendezvous under torchrun and srun.  mpirun sets none: see store_over_mpi.

    Under srun the host is the first of the step's node list, where rank 0 runs.  The port comes from the job's number, so
    that jobs on one host get different ports.  MASTER_ADDR and MASTER_PORT override both.  Ranks of one host use loopback.
    Raises UsageError.
    """
    assert info.launcher in (TORCHRUN, SRUN), info
    others, opens = (), True
    if info.launcher == TORCHRUN:
        opens = environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        host, port = environment["MASTER_ADDR"], environment["MASTER_PORT"]
    else:
        job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
        host, *others = _hosts_of_step(environment)
        port = environment.get("MASTER_PORT") or str(FIRST_PORT + (17 * job + step) % NUM_PORTS)
    if opens and info.local_size == info.size:
        host, others = network.LOOPBACK, ()
    return Endpoint(host, _port(port), opens, tuple(others), nonce(info, environment))


def nonce(info: RankInfo, environment: Mapping[str, str]) -> str:
    """Return what only ranks of this job know: MSCNN_NONCE, which slurm/job.sh generates, and the job's numbers.

    mpirun may not pass MSCNN_NONCE to other hosts; there, rank 0 generates a nonce and MPI broadcasts it: store_over_mpi.
    """
    return "/".join(environment.get(name, "") for name in ("MSCNN_NONCE", *_JOB_VARIABLES[info.launcher]))


def open_store(at: Endpoint, info: RankInfo, seconds: float) -> tuple[dist.Store, str]:
    """Open the store on rank 0, unless torchrun has; connect to it on the other ranks.

    Returns the store, and for the log where it is and, on rank 0, where it listens.  Raises RendezvousError where the port
    is in use or out of reach.  Plain sockets try first: torch tries for twice the timeout and fails with a long stack.
    """
    opens_here = at.opens and info.rank == 0
    where = f"{at.host}:{at.port}"
    try:
        if opens_here:
            store, listens_at = _serve(at, seconds)
            where = _where(at.host, at.port, listens_at)
        else:
            store = dist.TCPStore(_wait_for_listener(at.host, at.port, seconds), at.port, is_master=False,
                                  wait_for_workers=False, timeout=datetime.timedelta(seconds=seconds))
    except (dist.DistError, OSError) as problem:
        if opens_here:
            raise RendezvousError(f"rank 0 cannot open port {at.port} on {at.host} ({_reason(problem)}); end the "
                                  "program that uses it, or set another port (torchrun --master-port, MASTER_PORT)",
                                  this_rank_only=True) from None
        address = "set its address by MASTER_ADDR, " if info.launcher == SRUN else ""
        raise RendezvousError(f"rank {info.rank} did not reach rank 0 at {where} within {seconds:.0f} s "
                              f"({_reason(problem)}); see rank 0's output, {address}or raise --join-timeout",
                              this_rank_only=True) from None
    return _of_this_job(store, at.nonce), where if at.opens else f"{where} (torchrun's store, on all interfaces)"


def store_over_mpi(info: RankInfo, broadcast: Callable[[Any, int], Any], seconds: float) -> tuple[dist.Store, str]:
    """Open a store for ranks that mpirun started, on a free port of rank 0's host.

    broadcast(value, rank): returns that rank's value on all ranks.
    Returns the store, and for the log where it is.  Raises RendezvousError.
    """
    own_host = socket.gethostname()
    all_hosts = [broadcast(own_host, rank) for rank in range(info.size)]
    if info.rank == 0:
        others = tuple(host for host in all_hosts if host != own_host)
        host = network.LOOPBACK
        if others:
            host = network.towards(others[0]) or network.listening_address(own_host, others)[0] or own_host
        store, listens_at = _serve(Endpoint(host, 0, others=others), seconds)
        host, port, nonce = broadcast([host, store.port, secrets.token_hex(16)], 0)
        return _of_this_job(store, nonce), _where(host, port, listens_at)
    host, port, nonce = broadcast(None, 0)
    return open_store(Endpoint(host, port, nonce=nonce), info, seconds)


def wait_for_ranks(store: dist.Store, info: RankInfo, seconds: float) -> list[str]:
    """Wait until all ranks have arrived. Returns the host of each, by rank.

    A rank that gives up sets a key, so that the others end at once; rank 0, which holds the store, ends last.
    Raises RendezvousError for ranks that are missing or arrive twice.
    """
    arrived, deadline = [f"arrived-{rank}" for rank in range(info.size)], time.monotonic() + seconds
    rank_0_reports = False
    try:
        if store.add(f"claims-{info.rank}", 1) > 1:
            _abort(store, info, f"two processes are rank {info.rank} of {info.size}; give each process a rank of its "
                                 "own, as torchrun, mpirun and srun do")
        store.set(arrived[info.rank], socket.gethostname())
        while True:
            if store.check([_GIVEN_UP]):  # checked first: a rank that gave up has arrived, too
                _abort(store, info, store.get(_GIVEN_UP).decode())
            if store.check(arrived):
                break
            rank_0_reports = rank_0_reports or store.check(arrived[:1])
            if time.monotonic() > deadline:
                has_arrived = [store.check([key]) for key in arrived]
                missing = ", ".join(str(rank) for rank, arrived_in_time in enumerate(has_arrived) if not arrived_in_time)
                _abort(store, info, f"rank {missing} of {info.size} missing at the rendezvous after {seconds:.0f} s; see "
                                     "their output, give all ranks the same MSCNN_NONCE or none, or raise --join-timeout",
                       this_rank_only=not has_arrived[0] and has_arrived.index(True) == info.rank)
            time.sleep(_POLL)
        return [store.get(key).decode() for key in arrived]
    except dist.DistError as problem:
        raise RendezvousError(f"rank {info.rank} of {info.size} lost rank 0 ({_reason(problem)}); see its output",
                              this_rank_only=not rank_0_reports) from None


def _where(host: str, port: int, listens_at: str) -> str:
    return f"{host}:{port}" + ("" if listens_at == host else f" (listening on {listens_at})")


def _of_this_job(store: dist.Store, nonce: str) -> dist.Store:
    """Return the store as ranks with the same nonce see it. Keys hold a digest: torch shows keys in errors."""
    return dist.PrefixStore(f"mscnn-{hashlib.sha256(nonce.encode()).hexdigest()[:32]}", store)


def _serve(at: Endpoint, seconds: float) -> tuple[dist.TCPStore, str]:
    """Open the store, and return where it listens: an address, or all interfaces with the reason. Raises OSError."""
    listener, listens_at = network.listener(at.host, at.port, at.others)
    address, port = listener.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        address = network.LOOPBACK
    timeout = datetime.timedelta(seconds=seconds)
    store = dist.TCPStore(address, port, is_master=True, wait_for_workers=False, timeout=timeout,
                          master_listen_fd=listener.detach())  # the store closes it
    return store, listens_at


def _abort(store: dist.Store, info: RankInfo, message: str, *, this_rank_only: bool = False) -> NoReturn:
    """Raise RendezvousError on this rank and the others. Rank 0 reports it for all, unless this_rank_only."""
    store.set(_GIVEN_UP, message)
    if info.rank == 0:
        time.sleep(10 * _POLL)
    raise RendezvousError(message, this_rank_only=this_rank_only)


def _hosts_of_step(environment: Mapping[str, str]) -> list[str]:
    """Return the hosts of a step of srun, that of rank 0 first, by MASTER_ADDR where it is set.

    A node list that cannot be parsed raises UsageError; with MASTER_ADDR, that host is returned alone.
    """
    named = environment.get("MASTER_ADDR")
    try:
        first, *others = hosts(environment["SLURM_STEP_NODELIST"])
    except UsageError:
        if not named:
            raise
        return [named]
    return [named or first, *others]


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UsageError(f"MASTER_PORT must be a port, 1 to 65535, got {text!r}")
    return int(text)


def _wait_for_listener(host: str, port: int, seconds: float) -> str:
    """Wait until a process listens there. Returns its address. Raises OSError when none does in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host, port), timeout=max(deadline - time.monotonic(), _POLL)) as reached:
                return reached.getpeername()[0]
        except OSError:
            if time.monotonic() + _POLL > deadline:
                raise
            time.sleep(_POLL)


def _reason(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
