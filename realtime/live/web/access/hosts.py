"""Hosts and origins that requests may name: a defence against pages of other sites, whose names may lead here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

_LOOPBACK = "localhost"


def is_loopback(host: str) -> bool:
    """Return True for ``localhost`` and the addresses of the loopback interface."""
    if host == _LOOPBACK:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_address(host: str) -> bool:
    """Return True for an IP address, which no other site can make a name of its own lead to."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def host_and_port(text: str) -> tuple[str, int | None] | None:
    """Return host, in lower case and without brackets, and port of ``host[:port]``; None if it is neither."""
    try:
        parts = urlsplit(f"//{text}")
        if parts.path or parts.query or parts.fragment or parts.username is not None or parts.hostname is None:
            return None
        return parts.hostname.rstrip("."), parts.port
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Hosts:
    """Host names that requests may name, as a defence against pages of other sites whose name leads here.

    Attributes:
        bound: host that the server listens on.
        names: further names, such as those of a proxy.
        is_tls: True if the server speaks TLS itself; pages of ``http:`` are other origins then.
    """

    bound: str
    names: frozenset[str] = frozenset()
    is_tls: bool = False

    def allow(self, header: str) -> bool:
        """Return True if a request may have this ``Host`` header."""
        parsed = host_and_port(header)
        if parsed is None:
            return False
        host, _ = parsed
        if host in self.names or host == self.bound:
            return True
        return is_loopback(host) if is_loopback(self.bound) else is_address(host)

    def allow_origin(self, origin: str, host: str) -> bool:
        """Return True if a request for ``host`` may come from a page of ``origin``: that of this server itself."""
        scheme, _, place = origin.partition("://")
        parsed, wanted = host_and_port(place), host_and_port(host)
        if scheme not in (("https",) if self.is_tls else ("http", "https")) or parsed is None or wanted is None:
            return False
        usual = 443 if scheme == "https" else 80
        return (parsed[0], parsed[1] or usual) == (wanted[0], wanted[1] or usual) or parsed[0] in self.names


def names_of(hosts: Iterable[str]) -> frozenset[str]:
    """Return host names as they are compared: in lower case, without a dot at the end."""
    return frozenset(host.lower().rstrip(".") for host in hosts)
