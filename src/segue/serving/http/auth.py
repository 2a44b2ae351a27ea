"""API keys and their roles, compared in constant time, and the rate limit of each key."""

import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segue.serving.schemas.problems import Problem

API, INGEST, SERVE, ADMIN, ERASE = "api", "ingest", "serve", "admin", "erase"
ROLES = (INGEST, SERVE, ADMIN, ERASE)
VARIABLES = {
    "SEGUE_API_KEY": frozenset(ROLES),
    "SEGUE_INGEST_KEY": frozenset({INGEST}),
    "SEGUE_SERVE_KEY": frozenset({SERVE}),
    "SEGUE_ADMIN_KEY": frozenset({ADMIN}),
    "SEGUE_ERASE_KEY": frozenset({ERASE}),
}
"""Environment variable -> roles of its key. With ``_FILE`` behind the name, the key is read from that file."""


@dataclass(frozen=True)
class Caller:
    """Sender of a request: the name of its key, never the key, and its roles."""

    name: str
    roles: frozenset[str]

    def need(self, role: str) -> None:
        """Raise Problem 403 where the caller lacks a role."""
        if role not in self.roles:
            roles = ", ".join(known for known in ROLES if known in self.roles)
            raise Problem(403, f"This key has the roles {roles}; the request needs a key for {role}.")


OPEN = Caller("open", frozenset(ROLES))
"""Caller of a server without keys."""


class Keys:
    """Keys of one server. Without any key every caller has every role, which is allowed on loopback addresses only.

    Args:
        keys: variable name -> key. A key under two names has the roles of both.

    Raises:
        ValueError: a weak key.
    """

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        for name, key in (keys or {}).items():
            check_key(name, key)
        merged: dict[str, frozenset[str]] = {}
        names: dict[str, str] = {}
        for name, key in (keys or {}).items():
            merged[key] = merged.get(key, frozenset()) | VARIABLES[name]
            names.setdefault(key, name)
        self._keys = [(key.encode(), Caller(names[key], roles)) for key, roles in merged.items()]

    @classmethod
    def read(cls, environment: Mapping[str, str], host: str) -> "Keys":
        """Read the keys of the environment.

        Args:
            environment: variables by name (see ``VARIABLES``).
            host: address that the server listens on.

        Raises:
            ValueError: a weak key, a file that cannot be read, or no key for an address that other machines reach.
        """
        keys = {}
        for name in VARIABLES:
            if (file := environment.get(f"{name}_FILE")) is not None:
                try:
                    keys[name] = Path(file).read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError):
                    raise ValueError(f"{name}_FILE names {file}, which cannot be read as a key.") from None
            elif (key := environment.get(name)) is not None:
                keys[name] = key
        if not keys and not is_loopback(host):
            raise ValueError(
                f"Host {host} can be reached from other machines: set SEGUE_API_KEY first, or serve on 127.0.0.1."
            )
        return cls(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def caller(self, authorization: str) -> Caller:
        """Return the caller with the key in an ``Authorization`` header.

        Every key is compared, each in constant time, so that the time of the response reveals nothing about them.

        Raises:
            Problem: 401, the header has no key of this server.
        """
        if not self._keys:
            return OPEN
        scheme, _, given = authorization.partition(" ")
        match = None
        for key, caller in self._keys:
            if hmac.compare_digest(given.encode(), key):
                match = caller
        if match is None or scheme.lower() != "bearer":
            headers = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "The key is missing or wrong: send it as 'Authorization: Bearer KEY'.", headers)
        return match


class TokenBuckets:
    """Token buckets by key, the least recently used dropped above a number of them.

    Args:
        per_s: tokens that a bucket gains each second.
        most: tokens of a full bucket; at least 1.
        max_buckets: number of buckets in memory.
    """

    def __init__(self, per_s: float, most: float, max_buckets: int = 50_000) -> None:
        self._per_s = per_s
        self._most = max(1.0, most)
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, cost: float = 1.0, now_s: float | None = None) -> int:
        """Take tokens, where the bucket has one at least; it may fall below 0.

        Args:
            key: name of the bucket.
            cost: number of tokens.
            now_s: time in seconds; None: the monotonic clock.

        Returns:
            0, or the seconds until the bucket has a token again.
        """
        now = time.monotonic() if now_s is None else now_s
        level, then = self._buckets.get(key, (self._most, now))
        level = min(self._most, level + (now - then) * self._per_s)
        wait_s = 0 if level >= 1 else math.ceil((1 - level) / self._per_s)
        self._buckets[key] = (level if wait_s else level - cost, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
        return wait_s


class RateLimit:
    """Limit of the requests of each key.

    Args:
        rate: requests a second that a key may send all the time, twice as many at once; None: no limit.

    Raises:
        ValueError: a rate that is no number above 0.
    """

    def __init__(self, rate: float | None) -> None:
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"A rate limit is a number of requests a second above 0, got {rate:g}.")
        self._rate = rate
        self._buckets = None if rate is None else TokenBuckets(rate, 2 * rate)

    def take(self, caller: Caller, now_s: float | None = None) -> None:
        """Count a request.

        Args:
            caller: the sender.
            now_s: time in seconds; None: the monotonic clock.

        Raises:
            Problem: 429 with the seconds to wait, the key has sent too many.
        """
        if self._buckets is not None and (wait_s := self._buckets.take(caller.name, now_s=now_s)):
            raise too_many(f"This key may send {self._rate:g} requests a second", wait_s)


def too_many(limit: str, wait_s: int) -> Problem:
    """Return the refusal of a request over a limit.

    Args:
        limit: the limit, as the first half of a sentence.
        wait_s: seconds after which the client may send it again.
    """
    return Problem(429, f"{limit}: try again in {wait_s} s.", {"Retry-After": str(wait_s)})


def check_key(name: str, key: str) -> None:
    """Check that a key is hard to guess and can be sent.

    Args:
        name: its variable, for the message.
        key: the key.

    Raises:
        ValueError: it is shorter than 16 characters, or has others than printable ASCII without spaces.
    """
    if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{name} must be at least 16 printable ASCII characters without spaces.")


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine only."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
