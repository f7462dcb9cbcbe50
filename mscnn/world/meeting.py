"""Where ranks meet: a store that all of them reach, who has come, and the network interface between their hosts.

Exercised by `pytest tests/test_meeting.py`.
"""

import datetime
import fcntl
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch.distributed as dist

from mscnn.errors import UsageError
from mscnn.launchers import SRUN, TORCHRUN, Place, hosts

FIRST_PORT, NUM_PORTS = 20000, 12000  # of jobs under srun: below those that Linux hands out
_SIOCGIFADDR = 0x8915                 # linux/sockios.h: an interface's IPv4 address
_POLL = 0.1                           # seconds between two looks
_GIVEN_UP = "given-up"                # a key of the store


class MeetingError(UsageError):
    """Ranks that do not come together. alone: other ranks may not know of it, so this one speaks."""

    def __init__(self, what: str, *, alone: bool):
        super().__init__(what)
        self.alone = alone


def address(place: Place, environment: Mapping[str, str]) -> tuple[str, int, bool]:
    """Host and port of the store, and whether rank 0 opens it; under torchrun its agent has opened it already.

    Under srun the host is the first of the step's node list, where rank 0 is, and the port comes from the job's number,
    so that jobs side by side do not meet; MASTER_ADDR and MASTER_PORT win.  mpirun names none: see share_store.
    """
    assert place.launcher in (TORCHRUN, SRUN), place
    if place.launcher == TORCHRUN:
        opened = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        return environment["MASTER_ADDR"], _port(environment["MASTER_PORT"]), not opened
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    host = environment.get("MASTER_ADDR") or hosts(environment["SLURM_STEP_NODELIST"])[0]
    return host, _port(environment.get("MASTER_PORT") or str(FIRST_PORT + (17 * job + step) % NUM_PORTS)), True


def open_store(host: str, port: int, place: Place, *, opens: bool, seconds: float) -> dist.Store:
    """The store at host:port, which rank 0 opens if `opens`. Raises MeetingError where it is taken or out of reach.

    Plain sockets try first: torch tries twice as long as told, and fails with pages of its own stack.
    """
    opens_here = opens and place.rank == 0
    try:
        if opens_here:
            with socket.create_server(("", port)):
                pass
        else:
            _reach(host, port, seconds)
        store = dist.TCPStore(host, port, is_master=opens_here, wait_for_workers=False,
                              timeout=datetime.timedelta(seconds=seconds))
    except (dist.DistError, OSError) as problem:
        if opens_here:
            raise MeetingError(f"rank 0 cannot open port {port} on {host} ({_reason(problem)}); end the program that holds "
                               "it, or name another one (torchrun --master-port, MASTER_PORT)", alone=True) from None
        raise MeetingError(f"rank {place.rank} did not reach rank 0 at {host}:{port} within {seconds:.0f} s "
                           f"({_reason(problem)}); see rank 0's output, or raise --join-timeout", alone=True) from None
    return dist.PrefixStore("mscnn", store)


def share_store(place: Place, share: Callable[[Any], Any], seconds: float) -> tuple[dist.Store, str, int]:
    """The store of ranks that mpirun started, on a free port of rank 0's host, with host and port.

    share: tells all ranks what rank 0 says.
    """
    own, own_host, timeout = None, socket.gethostname(), datetime.timedelta(seconds=seconds)
    if place.rank == 0:
        own = dist.TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False, timeout=timeout)
    host, port = share([own_host, own.port] if own else None)
    if own:
        return dist.PrefixStore("mscnn", own), host, port
    reached = "127.0.0.1" if host == own_host else host
    return open_store(reached, port, place, opens=False, seconds=seconds), host, port


def check_in(store: dist.Store, place: Place, seconds: float) -> list[str]:
    """Wait for all ranks; the host of each, by rank. Raises MeetingError for ranks that are missing or come twice.

    Whoever gives up leaves word, so that the others end at once and rank 0, who holds the store, goes last.
    """
    arrived, deadline = [f"arrived-{rank}" for rank in range(place.size)], time.monotonic() + seconds
    try:
        if store.add(f"claims-{place.rank}", 1) > 1:
            _give_up(store, place, f"two processes are rank {place.rank} of {place.size}; give each process a rank of its "
                                   "own, as torchrun, mpirun and srun do")
        store.set(arrived[place.rank], socket.gethostname())
        while True:
            if store.check([_GIVEN_UP]):  # before the others: whoever gave up has arrived, too
                _give_up(store, place, store.get(_GIVEN_UP).decode())
            if store.check(arrived):
                break
            if time.monotonic() > deadline:
                missing = ", ".join(str(rank) for rank, key in enumerate(arrived) if not store.check([key]))
                _give_up(store, place, f"{place.size} ranks were to meet, but in {seconds:.0f} s rank {missing} did not "
                                       "come; see what they say, or raise --join-timeout")
            time.sleep(_POLL)
        return [store.get(key).decode() for key in arrived]
    except dist.DistError as problem:
        raise MeetingError(f"rank {place.rank} of {place.size} lost rank 0 ({_reason(problem)}); see its output",
                           alone=False) from None


def interface(own_host: str, all_hosts: list[str]) -> str | None:
    """The network interface through which this host reaches the others; None where that cannot be told."""
    others = [host for host in all_hosts if host != own_host]
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((others[0] if others else "127.0.0.1", 9))  # sends nothing: it only chooses a route
            own = probe.getsockname()[0]
            names = [name for _, name in socket.if_nameindex()]
            return next((name for name in names if _address(probe, name) == own), None)
    except OSError:
        return None


def _give_up(store: dist.Store, place: Place, what: str) -> NoReturn:
    """Raise, and have the others do so too; rank 0 says it for all."""
    store.set(_GIVEN_UP, what)
    if place.rank == 0:
        time.sleep(10 * _POLL)
    raise MeetingError(what, alone=False)


def _address(any_socket: socket.socket, name: str) -> str | None:
    try:
        answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
    except OSError:  # no IPv4 address
        return None
    return socket.inet_ntoa(answer[20:24])


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UsageError(f"MASTER_PORT must be a port, 1 to 65535, got {text!r}")
    return int(text)


def _reach(host: str, port: int, seconds: float) -> None:
    """Return once something listens there. Raises OSError when it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host, port), timeout=max(deadline - time.monotonic(), _POLL)):
                return
        except OSError:
            if time.monotonic() + _POLL > deadline:
                raise
            time.sleep(_POLL)


def _reason(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
