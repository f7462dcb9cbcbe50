"""The addresses of this host: the interface to the other hosts, and the address at which they look for it."""

import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Sequence

LOOPBACK = "127.0.0.1"
_SIOCGIFADDR = 0x8915  # linux/sockios.h: an interface's IPv4 address


def interface(own_host: str, all_hosts: list[str]) -> str | None:
    """Return the network interface through which this host reaches the others; None: unknown."""
    others = [host for host in all_hosts if host != own_host]
    own = _source(others[0] if others else LOOPBACK)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return next((name for _, name in socket.if_nameindex() if own and _address(any_socket, name) == own), None)


def listening_address(host: str, others: Sequence[str]) -> tuple[str | None, str]:
    """Return the address of this host at which others look for it as `host`; None, and the reason, where it is unknown.

    /etc/hosts often maps a host's own name to 127.0.1.1, which no other host reaches.  A name may have several addresses.
    In both cases it is the address from which this host reaches the others, if those are known.
    """
    addresses = sorted(_resolved(host), key=lambda address: ":" in address)  # IPv4 first
    if host.startswith("localhost") or host in addresses:  # the same on each host
        return (addresses or [LOOPBACK])[0], ""
    outside = [address for address in addresses if not _is_loopback(address)]
    of_one_family = [address for address in outside if ":" not in address] or outside
    if len(of_one_family) == 1:
        return of_one_family[0], ""
    if others and (own := towards(others[0])) and (own in outside or not outside):
        return own, ""
    return None, f"{host} is {' and '.join(addresses) or 'unknown'} on its own host"


def listener(host: str, port: int, others: Sequence[str]) -> tuple[socket.socket, str]:
    """Open a socket on the address at which others look for this host, else on all interfaces.

    Returns it, and for the log where it listens.  Raises OSError.
    """
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
    """Return the address from which this host reaches another, as _source; None for loopback: no other host reaches it."""
    own = _source(other)
    return None if own is None or _is_loopback(own) else own


def _resolved(host: str) -> list[str]:
    """Return the addresses of a name, each once; none for a name that this host does not know."""
    try:
        return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))
    except OSError:
        return []


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _source(other: str) -> str | None:
    """Return the IPv4 address from which this host reaches another; None: unknown."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((other, 9))  # sends nothing: it only chooses a route
            return probe.getsockname()[0]
    except OSError:
        return None


def _address(any_socket: socket.socket, name: str) -> str | None:
    """Return the IPv4 address of an interface; None: it has none."""
    try:
        answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
    except OSError:
        return None
    return socket.inet_ntoa(answer[20:24])
