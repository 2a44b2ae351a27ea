"""Limits of each client address, for keys that the pages of a shop show to everyone."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from segue.serving.config import ServingConfig
from segue.serving.http.auth import INGEST, SERVE, Caller, TokenBuckets, too_many
from segue.serving.http.exchange import Request

IPV6_PREFIX = 64
"""Leading bits of an IPv6 address that stand for one client: a household or a server has a network of its own."""
_PUBLIC_ROLES = frozenset({INGEST, SERVE})
_HOUR_S = 3600.0


class ClientLimits:
    """Limits of requests and of listed items for each client of a public key.

    A key with no other roles than ingest and serve is taken for public: a web page has one. A client is an IPv4
    address, or an IPv6 network of 64 bits. Each process counts for itself, with its share of the limit.

    Args:
        requests_per_s: requests a second, twice as many at once; None: no limit.
        items_per_h: items in lists an hour; None: no limit.
        trusted_proxies: addresses and networks of proxies, whose ``X-Forwarded-For`` header names the client. It is the
            only header that is read: of two, a client could write the one that the proxy leaves alone.
        processes: number of processes that share the limits.
    """

    def __init__(
        self,
        requests_per_s: float | None = None,
        items_per_h: float | None = None,
        trusted_proxies: Sequence[str] = (),
        processes: int = 1,
    ) -> None:
        self._requests_per_s = requests_per_s
        self._items_per_h = items_per_h
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in trusted_proxies]
        self._requests = self._items = None
        if requests_per_s is not None:
            self._requests = TokenBuckets(requests_per_s / processes, 2 * requests_per_s)
        if items_per_h is not None:
            self._items = TokenBuckets(items_per_h / processes / _HOUR_S, items_per_h / processes)
        self.counts_items = self._items is not None
        """Whether the items of lists are counted."""
        self._is_proxy = lru_cache(maxsize=4096)(self._find_proxy)

    @classmethod
    def of(cls, config: ServingConfig) -> "ClientLimits":
        """Return the limits of one process of a server."""
        access = config.access
        limits = access.requests_per_s_per_client, access.items_per_h_per_client
        return cls(*limits, access.trusted_proxies, config.workers)

    def take(self, request: Request, caller: Caller) -> None:
        """Count a request of a public key.

        Args:
            request: the request.
            caller: its sender.

        Raises:
            Problem: 429 with the seconds to wait, the client has sent too many or got too many items.
        """
        if (self._requests is None and self._items is None) or not caller.roles <= _PUBLIC_ROLES:
            return
        client = self.client_of(request)
        if self._requests is not None and (wait_s := self._requests.take(client)):
            raise too_many(f"This key allows each client {self._requests_per_s:g} requests a second", wait_s)
        if self._items is not None and (wait_s := self._items.take(client, 0.0)):
            raise too_many(f"This key allows each client {self._items_per_h:g} items an hour", wait_s)

    def count_items(self, request: Request, caller: Caller, response: Any) -> None:
        """Count the items of a response, where it has any.

        Args:
            request: the request.
            caller: its sender.
            response: the response, before it is encoded.
        """
        if self._items is not None and caller.roles <= _PUBLIC_ROLES and request.client:
            items = getattr(response, "items", None)
            if isinstance(items, list):
                self._items.take(self.client_of(request), float(len(items)))

    def client_of(self, request: Request) -> str:
        """Return the client of a request: the address nearest to this server that is not a trusted proxy's."""
        address = request.client
        if self._proxies and self._is_proxy(address):
            for hop in reversed([hop.strip() for hop in request.header(b"x-forwarded-for").split(",")]):
                if client_key(hop) == "":
                    break
                address = hop
                if not self._is_proxy(hop):
                    break
        return client_key(address)

    def _find_proxy(self, address: str) -> bool:
        ip = _parse(address)
        return ip is not None and any(ip in proxy for proxy in self._proxies)


@lru_cache(maxsize=4096)
def client_key(address: str) -> str:
    """Return the name under which an address is counted; "" for a text that is none."""
    ip = _parse(address)
    if isinstance(ip, ipaddress.IPv6Address):
        return f"{int(ip) >> (128 - IPV6_PREFIX):x}::"
    return "" if ip is None else str(ip)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, perhaps with a port; an IPv4 one that is written in IPv6 as IPv4."""
    if address.startswith("["):
        address = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        address = address.partition(":")[0]
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip
