"""Whom we talk to: public addresses, and what the operator named. One place decides that for every session of ours.

An answer, a redirect or a name server cannot make us ask this machine, its network or the cloud's metadata: what counts
is the address that a connection is about to be made to. Addresses that stand in a setting as such
(``http://127.0.0.1:8080``, ``http://localhost:8080``) are the operator's own words, link-local ones excepted; a name
that leads into a private network is for ``PRIVATE_HOSTS``.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.resolver import ThreadedResolver
from yarl import URL

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

log = logging.getLogger(__name__)

LOCALHOST = "localhost"


class AddressRefused(OSError):
    """A connection that would lead where nobody asked us to go."""


def connector(*configured: str, limit: int = 100) -> aiohttp.TCPConnector:
    """Make a connector for a session that talks to public addresses, and to those of ``configured``."""
    resolver = _Resolver(hosts_of(configured))
    return aiohttp.TCPConnector(limit=limit, resolver=resolver, socket_factory=resolver.open_socket)


def hosts_of(configured: Iterable[str]) -> frozenset[str]:
    """The hosts of addresses that name themselves: numbers, and this machine."""
    found = set()
    for address in configured:
        try:
            host = URL(address).host
        except ValueError:
            continue  # whoever calls it will say so
        if host and (host == LOCALHOST or _number(host) is not None):
            found.add(host)
    return frozenset(found)


def is_public(address: str) -> bool:
    """Is it an address of the internet, whatever it is wrapped in?"""
    number = _number(address)
    if number is None:
        return False
    if isinstance(number, IPv6Address):
        inner = (
            number.ipv4_mapped or number.sixtofour or (number.teredo[1] if number.teredo else None) or _nat64(number)
        )
        if inner is not None:
            number = inner
    return number.is_global and not number.is_multicast


def is_link_local(address: str) -> bool:
    """Is it one that clouds give their metadata away at?"""
    number = _number(address)
    if isinstance(number, IPv6Address):
        number = number.ipv4_mapped or number
    return number is not None and number.is_link_local


class _Resolver(ThreadedResolver):
    """Asks the name server, and remembers which private addresses the operator's own names led to."""

    def __init__(self, own: frozenset[str]) -> None:
        super().__init__()
        self._own = own
        self._let = {host for host in own if _number(host) is not None and not is_link_local(host)}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name; of what it leads to only the addresses that may be talked to are given."""
        found = await super().resolve(host, port, family)
        if host in self._own or host in _private_hosts():
            self._let.update(one["host"] for one in found)
            return found
        public = [one for one in found if is_public(one["host"])]
        if found and not public:
            log.warning("%s leads to an address that is not public: not called; PRIVATE_HOSTS lets it be", host)
            raise AddressRefused(f"{host} leads to an address that is not public")
        return public

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket of a connection, if it may be made."""
        family, kind, protocol, _, place = info
        address = str(place[0])
        if not (is_public(address) or address in self._let or address in _private_hosts()):
            log.warning("%s is not a public address, and no setting names it: not called", address)
            raise AddressRefused(f"{address} is not a public address")
        return socket.socket(family, kind, protocol)


def _private_hosts() -> frozenset[str]:
    from atlas import settings  # read when it matters, which is hardly ever

    return frozenset(settings.PRIVATE_HOSTS)


def _number(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _nat64(number: IPv6Address) -> IPv4Address | None:
    """RFC 6052's well-known prefix."""
    return IPv4Address(int(number) & 0xFFFFFFFF) if int(number) >> 32 == 0x0064FF9B << 64 else None
