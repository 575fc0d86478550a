"""Who asks: what every limit of one client, and every turn that it takes, goes by."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextvars import ContextVar

from sacl.errors import RunError

CLIENT: ContextVar[str] = ContextVar("client", default="")
"""Of the request that is being answered."""


def client_of(address: tuple[str, int] | None) -> str:
    """An address; of IPv6 the half of it that a subscriber has. What is no address, which a proxy may say, is nobody.

    >>> client_of(("2001:db8::1:2:3", 80)), client_of(("::ffff:10.1.2.3", 80)), client_of(("unknown", 80))
    ('2001:db8::', '10.1.2.3', '')
    """
    try:
        one = ipaddress.ip_address(address[0].partition("%")[0] if address else "")
    except ValueError:
        return ""
    if isinstance(one, ipaddress.IPv4Address):
        return str(one)
    return str(one.ipv4_mapped or ipaddress.IPv6Address(int(one) >> 64 << 64))


class Proxies:
    """Those that stand before the server, and say in `X-Forwarded-For` who asks.

    Args:
        networks: addresses, or networks such as `10.0.0.0/8`.

    Attributes:
        networks: all of them, as networks.

    Raises:
        RunError: one is neither.

    >>> ("10.1.2.3", 80) in Proxies(["127.0.0.1", "10.0.0.0/8"])
    True
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self.networks = []
        for network in networks:
            try:
                self.networks.append(ipaddress.ip_network(network))
            except ValueError:
                raise RunError(
                    f"{network!r:.60} is neither an address nor a network",
                    where="--proxy",
                    remedy="Give the proxy's address, 127.0.0.1 say, or a network, 10.0.0.0/8 say",
                ) from None

    def __contains__(self, address: tuple[str, int]) -> bool:
        one = ipaddress.ip_address(address[0].partition("%")[0])
        return any(one in network for network in self.networks)
