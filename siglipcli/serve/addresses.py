"""Which URLs are fetched: by scheme, by host and by the address that the host has now. Standard library only."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
    Resolve: TypeAlias = Callable[[str, int], Sequence[str]]

__all__ = ["RefusedError", "Target", "check", "is_public", "resolve"]

_LONGEST = 2_000  # characters
_PLAIN = re.compile(r"[!-~]+")  # no blanks, control or non-ASCII characters
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")  # ::a.b.c.d, deprecated


class RefusedError(Exception):
    """A URL that is not fetched; the message is for the client."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be fetched, and the address to connect to: looked up once, and used."""

    scheme: str
    host: str
    port: int
    path: str
    address: str


def resolve(host: str, port: int) -> list[str]:
    """Return a host's addresses. Raises OSError."""
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in entries]


def check(url: str, patterns: Sequence[str], resolve: Resolve = resolve) -> Target:
    """Return where a URL is fetched from. Raises RefusedError.

    A host without an address is refused in the same words as one whose address is private: clients do not
    learn which names this network knows. Of a host that is named in full, that is an OSError.

    `patterns` are of hosts that may be fetched from, none for any; a pattern without a wildcard also lets
    the host have a private address, and the URL another port than the scheme's.
    """
    if len(url) > _LONGEST or not _PLAIN.fullmatch(url) or "\\" in url:
        raise RefusedError("The URL is not a plain one.")
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
    except ValueError:
        raise RefusedError("The URL cannot be read.") from None
    if scheme not in _PORTS:
        raise RefusedError("Only http and https URLs are fetched.")
    host = host.rstrip(".")
    if "@" in parts.netloc or not _HOST.fullmatch(host):
        raise RefusedError("The URL's host is not a plain one.")
    is_named = host in {pattern.lower() for pattern in patterns}
    if patterns and not is_named and not _fits(host, patterns):
        raise RefusedError("The server does not fetch from this host.")
    port = _PORTS[scheme] if port is None else port
    if port != _PORTS[scheme] and not is_named:
        raise RefusedError("The server does not fetch from this port.")
    address = _address(host, port, resolve, is_named=is_named)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(scheme, host, port, path, address)


def _fits(host: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(host, pattern.lower()) for pattern in patterns)


def _address(host: str, port: int, resolve: Resolve, *, is_named: bool) -> str:
    try:
        addresses = resolve(host, port)
    except OSError:
        if is_named:
            raise
        addresses = []
    if is_named and addresses:
        return addresses[0]
    if is_named:
        raise OSError("no address")
    if not addresses or not all(is_public(address) for address in addresses):
        raise RefusedError("The server fetches from hosts with public addresses only.")
    return addresses[0]


def is_public(text: str) -> bool:
    """Whether an address is one of the public internet; of IPv6, the IPv4 addresses within it too."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_plain(inner) for inner in _within(address))


def _is_plain(address: Address) -> bool:
    odd = address.is_private or address.is_loopback or address.is_link_local or address.is_reserved
    return address.is_global and not (odd or address.is_multicast or address.is_unspecified)


def _within(address: Address) -> Iterator[Address]:
    """Yield the address, or the IPv4 addresses that it stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or address in _COMPATIBLE:
        inner.append(last)
    carried = [candidate for candidate in inner if candidate is not None]
    if address.ipv4_mapped is None and address not in _NAT64:
        yield address
    yield from carried
