"""Who asks: what every limit of one client, and every turn that it takes, goes by."""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar

CLIENT: ContextVar[str] = ContextVar("client", default="")
"""Of the request that is being answered."""


def client_of(address: tuple[str, int] | None) -> str:
    """An address; of IPv6 the half of it that a subscriber has.

    >>> client_of(("2001:db8::1:2:3", 80)), client_of(("::ffff:10.1.2.3", 80)), client_of(None)
    ('2001:db8::', '10.1.2.3', '')
    """
    name = address[0] if address else ""
    if ":" not in name:
        return name
    six = ipaddress.IPv6Address(name.partition("%")[0])
    return str(six.ipv4_mapped or ipaddress.IPv6Address(int(six) >> 64 << 64))
