"""Which hosts may be reached, by names that mean one thing only.

A host is a name in ASCII letters, digits and hyphens, or an IP address in its one canonical form.  Whatever a resolver
might read as an address in another way (`127.1`, `0x7f000001`, `2130706433`, a name with a NUL, `%2e`, a user before
an `@`) is no host at all.  An address is reached only where the list names it; a name only where it leads to a
public address, so that a name of a stranger cannot lead to this machine or its neighbours.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tinsmith.errors import InputError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = (80, 443)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_EMBEDDING = tuple(
    ipaddress.ip_network(text)
    # NAT64, its local form, 6to4, Teredo, and addresses with an IPv4 one at their end.
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "::ffff:0:0/96")
)


@dataclass(frozen=True)
class Target:
    """A host (a name or an address) and a port."""

    host: str
    port: int

    @property
    def address(self) -> Address | None:
        """Where the host is an address and no name."""
        return _address(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_target(text: str, default_port: int | None = None) -> Target | None:
    """`host:port`, `[v6]:port`; None for anything that is not exactly that."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_.-]{1,254}))(?::([0-9]{1,5}))?", text, re.ASCII)
    if found is None:
        return None
    port = int(found[3]) if found[3] else default_port
    host = _host(found[1], six=True) if found[1] else _host(found[2], six=False)
    if host is None or port is None or not 0 < port < 65536:
        return None
    return Target(host, port)


def _host(text: str, *, six: bool) -> str | None:
    name = text.lower().removesuffix(".")
    address = _address(name)
    if address is not None:
        # One form for each address, and a v6 one in brackets.
        return name if str(address) == name and (address.version == 6) == six else None
    if six or len(name) > 253 or not _NAME.fullmatch(name):
        return None
    last = name.rpartition(".")[2]
    # What the C library would read as an address: decimal, octal, hexadecimal, of fewer than four parts.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
        return None
    return name


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class _Entry:
    host: str
    below: bool
    """`*.host`: every name that ends in it."""
    ports: tuple[int, ...]
    pinned: str = ""
    """The address that the name is to mean."""

    def allows(self, target: Target) -> bool:
        if target.port not in self.ports:
            return False
        return target.host.endswith(f".{self.host}") if self.below else target.host == self.host


@dataclass(frozen=True)
class Allowlist:
    """Hosts that may be reached."""

    entries: tuple[_Entry, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> "Allowlist":
        """`example.org` (ports 80 and 443), `example.org:8080`, `*.example.org`, `192.0.2.1:8000`, `[::1]:8000`, and
        `mirror.internal=10.0.0.5`: a name with the address that it leads to, which may be a private one.

        Raises InputError `bad_host`.
        """
        entries: list[_Entry] = []
        for text in texts:
            name, pin, pinned = text.partition("=")
            below = name.startswith("*.")
            target = parse_target(name.removeprefix("*."), 443)
            has_port = re.search(r"[^:\]]:[0-9]+$|\]:[0-9]+$", name) is not None
            is_name = target is not None and target.address is None
            wrong_pin = bool(pin) and (not is_name or below or str(_address(pinned)) != pinned)
            if target is None or wrong_pin or (below and not (is_name and "." in target.host)):
                raise InputError(
                    "bad_host",
                    f"{text!r} is no host that can be allowed",
                    "Give names such as pypi.org, *.pythonhosted.org, example.org:8080, or an address with its port.",
                )
            entries.append(_Entry(target.host, below, (target.port,) if has_port else _PORTS, pinned))
        return cls(tuple(entries))

    def allows(self, target: Target) -> bool:
        """Whether the list names this host and port; an address only where it is named as one."""
        return any(entry.allows(target) for entry in self.entries)

    def pinned(self, target: Target) -> str | None:
        """The address that the list itself gives the name of an allowed target."""
        return next((entry.pinned for entry in self.entries if entry.pinned and entry.allows(target)), None)


def is_public(text: str) -> bool:
    """Whether an address that a name led to is one of the public Internet."""
    address = _address(text.partition("%")[0])
    if address is None or "%" in text:
        return False
    if address.version == 6 and any(address in network for network in _EMBEDDING):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_private
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
    )
