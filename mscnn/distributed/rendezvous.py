"""Where ranks meet: a store that all of them reach, and who has come.

The store listens at one address and its keys start with what only this job knows, so that jobs on one port keep apart.
That does not stop somebody on the network who means harm: what is sent is neither encrypted nor signed.
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
# What a launcher tells all ranks of one job, and ranks of no other one; it is another one when the job starts again.
_OF_ONE_JOB = {TORCHRUN: ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT"),
               SRUN: ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")}
_POLL = 0.1                           # seconds between two looks
_GIVEN_UP = "given-up"                # a key of the store


class RendezvousError(UsageError):
    """Ranks that do not come together. alone: other ranks may not know of it, so this one speaks."""

    def __init__(self, what: str, *, alone: bool):
        super().__init__(what)
        self.this_rank_only = alone


@dataclass(frozen=True)
class Endpoint:
    """Where the store of a job is, as its ranks look for it.

    port: 0 for any that is free; opens: rank 0 opens the store, else torchrun's agent has done so, on all interfaces;
    others: hosts of the job besides that of rank 0, as far as they are known; nonce: see nonce().
    """

    host: str
    port: int
    opens: bool = True
    others: tuple[str, ...] = ()
    nonce: str = field(default="", repr=False)


def endpoint(place: RankInfo, environment: Mapping[str, str]) -> Endpoint:
    """Where ranks meet under torchrun and srun.  mpirun names no place: see share_store.

    Under srun the host is the first of the step's node list, where rank 0 is, and the port comes from the job's number,
    so that jobs side by side do not meet; MASTER_ADDR and MASTER_PORT win.  Ranks of one host meet on its loopback.
    """
    assert place.launcher in (TORCHRUN, SRUN), place
    others, opens = (), True
    if place.launcher == TORCHRUN:
        opens = environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        host, port = environment["MASTER_ADDR"], environment["MASTER_PORT"]
    else:
        job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
        host, *others = _hosts_of_step(environment)
        port = environment.get("MASTER_PORT") or str(FIRST_PORT + (17 * job + step) % NUM_PORTS)
    if opens and place.local_size == place.size:
        host, others = network.LOOPBACK, ()
    return Endpoint(host, _port(port), opens, tuple(others), nonce(place, environment))


def nonce(place: RankInfo, environment: Mapping[str, str]) -> str:
    """What all ranks of this job know and others do not: MSCNN_NONCE, which slurm/job.sh makes up, and the job's numbers.

    mpirun may not carry MSCNN_NONCE to other hosts; there, rank 0 makes one up and MPI tells it: see share_store.
    """
    return "/".join(environment.get(name, "") for name in ("MSCNN_NONCE", *_OF_ONE_JOB[place.launcher]))


def open_store(spot: Endpoint, place: RankInfo, seconds: float) -> tuple[dist.Store, str]:
    """The store, which rank 0 opens unless torchrun has, and a phrase: where it is, and on rank 0 where it listens.

    Raises MeetingError where it is taken or out of reach.  Plain sockets try first: torch tries twice as long as told,
    and fails with pages of its own stack.
    """
    opens_here = spot.opens and place.rank == 0
    where = f"{spot.host}:{spot.port}"
    try:
        if opens_here:
            store, listens_at = _serve(spot, seconds)
            where = _where(spot.host, spot.port, listens_at)
        else:
            store = dist.TCPStore(_wait_for_listener(spot.host, spot.port, seconds), spot.port, is_master=False,
                                  wait_for_workers=False, timeout=datetime.timedelta(seconds=seconds))
    except (dist.DistError, OSError) as problem:
        if opens_here:
            raise RendezvousError(f"rank 0 cannot open port {spot.port} on {spot.host} ({_reason(problem)}); end the "
                                  "program that holds it, or name another one (torchrun --master-port, MASTER_PORT)",
                                  alone=True) from None
        named = "name its address by MASTER_ADDR, " if place.launcher == SRUN else ""
        raise RendezvousError(f"rank {place.rank} did not reach rank 0 at {where} within {seconds:.0f} s "
                              f"({_reason(problem)}); see rank 0's output, {named}or raise --join-timeout",
                              alone=True) from None
    return _of_this_job(store, spot.nonce), where if spot.opens else f"{where} (torchrun's store, on all interfaces)"


def store_over_mpi(place: RankInfo, share: Callable[[Any, int], Any], seconds: float) -> tuple[dist.Store, str]:
    """The store of ranks that mpirun started, on a free port of rank 0's host, and a phrase: where it is.

    share(value, rank): tells all ranks what that rank says.  Raises MeetingError.
    """
    own, own_host, told = None, socket.gethostname(), None
    all_hosts = [share(own_host, rank) for rank in range(place.size)]
    if place.rank == 0:
        others = tuple(host for host in all_hosts if host != own_host)
        host = network.LOOPBACK
        if others:
            host = network.towards(others[0]) or network.listening_address(own_host, others)[0] or own_host
        own, listens_at = _serve(Endpoint(host, 0, others=others), seconds)
        told = [host, own.port, secrets.token_hex(16)]
    host, port, made_up = share(told, 0)
    if own:
        return _of_this_job(own, made_up), _where(host, port, listens_at)
    return open_store(Endpoint(host, port, nonce=made_up), place, seconds)


def wait_for_ranks(store: dist.Store, place: RankInfo, seconds: float) -> list[str]:
    """Wait for all ranks; the host of each, by rank. Raises MeetingError for ranks that are missing or come twice.

    Whoever gives up leaves word, so that the others end at once and rank 0, who holds the store, goes last.
    """
    arrived, deadline = [f"arrived-{rank}" for rank in range(place.size)], time.monotonic() + seconds
    rank_0_speaks = False
    try:
        if store.add(f"claims-{place.rank}", 1) > 1:
            _abort(store, place, f"two processes are rank {place.rank} of {place.size}; give each process a rank of its "
                                   "own, as torchrun, mpirun and srun do")
        store.set(arrived[place.rank], socket.gethostname())
        while True:
            if store.check([_GIVEN_UP]):  # before the others: whoever gave up has arrived, too
                _abort(store, place, store.get(_GIVEN_UP).decode())
            if store.check(arrived):
                break
            rank_0_speaks = rank_0_speaks or store.check(arrived[:1])
            if time.monotonic() > deadline:
                here = [store.check([key]) for key in arrived]
                missing = ", ".join(str(rank) for rank, came in enumerate(here) if not came)
                _abort(store, place, f"{place.size} ranks were to meet, but in {seconds:.0f} s rank {missing} did not "
                                       "come; see what they say, give all of them one MSCNN_NONCE or none, or raise "
                                       "--join-timeout", alone=not here[0] and here.index(True) == place.rank)
            time.sleep(_POLL)
        return [store.get(key).decode() for key in arrived]
    except dist.DistError as problem:
        raise RendezvousError(f"rank {place.rank} of {place.size} lost rank 0 ({_reason(problem)}); see its output",
                              alone=not rank_0_speaks) from None


def _where(host: str, port: int, listens_at: str) -> str:
    return f"{host}:{port}" + ("" if listens_at == host else f" (listening on {listens_at})")


def _of_this_job(store: dist.Store, nonce: str) -> dist.Store:
    """The store as ranks with the same nonce see it. Its digest is part of each key, which torch shows in errors."""
    return dist.PrefixStore(f"mscnn-{hashlib.sha256(nonce.encode()).hexdigest()[:32]}", store)


def _serve(spot: Endpoint, seconds: float) -> tuple[dist.TCPStore, str]:
    """A store of our own, and where it listens: an address, or all interfaces with the reason. Raises OSError."""
    listener, listens_at = network.listener(spot.host, spot.port, spot.others)
    address, port = listener.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        address = network.LOOPBACK
    timeout = datetime.timedelta(seconds=seconds)
    store = dist.TCPStore(address, port, is_master=True, wait_for_workers=False, timeout=timeout,
                          master_listen_fd=listener.detach())  # the store closes it
    return store, listens_at


def _abort(store: dist.Store, place: RankInfo, what: str, *, alone: bool = False) -> NoReturn:
    """Raise, and have the others do so too; rank 0 says it for all, or the one that is `alone` without it."""
    store.set(_GIVEN_UP, what)
    if place.rank == 0:
        time.sleep(10 * _POLL)
    raise RendezvousError(what, alone=alone)


def _hosts_of_step(environment: Mapping[str, str]) -> list[str]:
    """Hosts of a step of srun, the first by the name at which its ranks meet; it alone where MASTER_ADDR makes up for a
    node list that is not understood. Raises UsageError.
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
    """The address at which something listens there, once it does. Raises OSError when it does not in time."""
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
