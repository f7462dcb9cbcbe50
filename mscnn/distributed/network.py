"""The addresses of this host: through which interface it reaches the others, and where they look for it."""

import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Sequence

LOOPBACK = "127.0.0.1"
_SIOCGIFADDR = 0x8915  # linux/sockios.h: an interface's IPv4 address


def interface(own_host: str, all_hosts: list[str]) -> str | None:
    """The network interface through which this host reaches the others; None where that cannot be told."""
    others = [host for host in all_hosts if host != own_host]
    own = _source(others[0] if others else LOOPBACK)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return next((name for _, name in socket.if_nameindex() if own and _address(any_socket, name) == own), None)


def listening_address(host: str, others: Sequence[str]) -> tuple[str | None, str]:
    """The address of this host at which others look for it as `host`; None, and why, where that cannot be told.

    /etc/hosts often gives a host's own name as 127.0.1.1, where nobody else comes; a name may have several addresses,
    too.  Then it is the one from which this host reaches the others, if they are known.
    """
    found = sorted(_resolved(host), key=lambda address: ":" in address)  # IPv4 first
    if host.startswith("localhost") or host in found:  # means the same on each host
        return (found or [LOOPBACK])[0], ""
    outside = [address for address in found if not _is_loopback(address)]
    of_one_kind = [address for address in outside if ":" not in address] or outside
    if len(of_one_kind) == 1:
        return of_one_kind[0], ""
    if others and (own := towards(others[0])) and (own in outside or not outside):
        return own, ""
    return None, f"{host} is {' and '.join(found) or 'unknown'} on its own host"


def listener(host: str, port: int, others: Sequence[str]) -> tuple[socket.socket, str]:
    """A socket on which others reach this host, and no stranger if that can be; and where it listens, in words."""
    own, why = listening_address(host, others)
    if own:
        family = socket.AF_INET6 if ":" in own else socket.AF_INET
        try:
            return socket.create_server((own, port), family=family), own
        except OSError as problem:
            if problem.errno != errno.EADDRNOTAVAIL:
                raise
            why = f"{own} is no address of its own host"  # one that is forwarded
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    return socket.create_server(("", port), family=family, dualstack_ipv6=both), f"all interfaces, as {why}"


def towards(other: str) -> str | None:
    """As _source, unless it is loopback: another host does not come there."""
    own = _source(other)
    return None if own is None or _is_loopback(own) else own


def _resolved(host: str) -> list[str]:
    """The addresses of a name, each once; none for a name that this host does not know."""
    try:
        return list(dict.fromkeys(entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))
    except OSError:
        return []


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _source(other: str) -> str | None:
    """The IPv4 address from which this host reaches another; None where that cannot be told."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((other, 9))  # sends nothing: it only chooses a route
            return probe.getsockname()[0]
    except OSError:
        return None


def _address(any_socket: socket.socket, name: str) -> str | None:
    try:
        answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
    except OSError:  # no IPv4 address
        return None
    return socket.inet_ntoa(answer[20:24])
