"""Keys and what each opens, compared in constant time; how often a key may ask."""

import hmac
import ipaddress
import time
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
"""Where keys come from and what each opens; with _FILE behind the name, from the file that is named there."""


@dataclass(frozen=True)
class Caller:
    """Who asks: the key's name, never the key, and what it opens."""

    name: str
    roles: frozenset[str]

    def need(self, role: str) -> None:
        """Problem (403) where the caller's key does not open that."""
        if role not in self.roles:
            opens = ", ".join(one for one in ROLES if one in self.roles)
            raise Problem(403, f"This key opens {opens}; the request needs a key for {role}.")


OPEN = Caller("nobody", frozenset(ROLES))
"""Whoever asks where no key is set."""


class Keys:
    """The keys of one server; none at all opens everything, which is allowed on the loopback address only."""

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        """``keys``: variable name -> key. ValueError for a weak one. One key under two names opens what both open."""
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
        """The keys of the environment. ValueError for a weak one, for a file that is not there, and for an address
        that other machines reach without any key."""
        found = {}
        for name in VARIABLES:
            if (file := environment.get(f"{name}_FILE")) is not None:
                try:
                    found[name] = Path(file).read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError):
                    raise ValueError(f"{name}_FILE names {file}, which cannot be read as a key.") from None
            elif (key := environment.get(name)) is not None:
                found[name] = key
        if not found and not is_loopback(host):
            raise ValueError(
                f"Host {host} can be reached from other machines: set SEGUE_API_KEY first, or serve on 127.0.0.1."
            )
        return cls(found)

    def __len__(self) -> int:
        return len(self._keys)

    def caller(self, authorization: str) -> Caller:
        """Who sends this header. Problem (401) where it carries no key of this server.

        Every key is compared, and each in constant time, so that the answer's time says nothing about them.
        """
        if not self._keys:
            return OPEN
        scheme, _, given = authorization.partition(" ")
        found = None
        for key, caller in self._keys:
            if hmac.compare_digest(given.encode(), key):
                found = caller
        if found is None or scheme.lower() != "bearer":
            headers = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "The key is missing or wrong: send it as 'Authorization: Bearer KEY'.", headers)
        return found


class RateLimit:
    """A bucket for each key: ``rate`` requests a second go on for ever, twice as many may come at once."""

    def __init__(self, rate: float | None) -> None:
        if rate is not None and rate <= 0:
            raise ValueError(f"A rate limit is a number of requests a second above 0, got {rate:g}.")
        self._rate = rate
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: Caller, now_s: float | None = None) -> None:
        """Counts a request. Problem (429) where the key has asked too often, with the seconds to wait."""
        if self._rate is None:
            return
        now = time.monotonic() if now_s is None else now_s
        most = 2 * self._rate
        level, then = self._buckets.get(caller.name, (max(most, 1.0), now))
        level = min(max(most, 1.0), level + (now - then) * self._rate)
        if level < 1:
            self._buckets[caller.name] = (level, now)
            wait_s = max(1, round((1 - level) / self._rate + 0.5))
            raise Problem(
                429,
                f"This key may ask {self._rate:g} times a second: try again in {wait_s} s.",
                {"Retry-After": str(wait_s)},
            )
        self._buckets[caller.name] = (level - 1, now)


def check_key(name: str, key: str) -> None:
    """ValueError for a key that can be guessed or cannot be sent."""
    if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"{name} must be at least 16 printable ASCII characters without spaces.")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
