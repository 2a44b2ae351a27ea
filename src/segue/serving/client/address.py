"""Address of a server and the head of every request to it."""

import ssl
import warnings
from dataclasses import dataclass
from urllib.parse import urlsplit

from segue.serving.http.auth import is_loopback

_PORTS = {"http": 80, "https": 443}
_NOT_AN_ADDRESS = "'{url}' is not the address of a server: write it like http://127.0.0.1:8000 or https://shop.example."


@dataclass(frozen=True)
class ServerAddress:
    """Address of a server."""

    host: str
    port: int
    is_https: bool
    prefix: str
    """Path before those of the endpoints, for a server behind a proxy; "" without one."""

    @classmethod
    def parse(cls, url: str) -> "ServerAddress":
        """Return the address that a URL names.

        Raises:
            ValueError: it is no http or https URL, or has a user, a password, a query or a fragment. The message does
                not repeat a URL with a password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.username is not None or parts.password is not None:
            raise ValueError("The address of a server has no user and no password: give the key as 'key'.")
        is_plain = url.isascii() and url.isprintable() and " " not in url and not (parts.query or parts.fragment)
        if parts.scheme not in _PORTS or not host or not is_plain:
            raise ValueError(_NOT_AN_ADDRESS.format(url=url if url.isprintable() else ascii(url)[1:-1]))
        return cls(host, port or _PORTS[parts.scheme], parts.scheme == "https", parts.path.rstrip("/"))

    def __str__(self) -> str:
        """Return the address as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_https else 'http'}://{host}:{self.port}{self.prefix}"

    def ssl_context(self, own: ssl.SSLContext | None) -> ssl.SSLContext | None:
        """Return the context that verifies the server's certificate; None for http.

        Args:
            own: context of the caller; None: the certificate authorities of the system.
        """
        return (own or ssl.create_default_context()) if self.is_https else None

    def headers(self, key: str | None) -> str:
        """Return the header lines of every request.

        A key that goes to another machine without encryption is reported with a UserWarning: everybody on the way can
        read it.

        Args:
            key: API key; None: none is sent.

        Raises:
            ValueError: the key has others than printable ASCII characters, or spaces. The message does not repeat it.
        """
        host = str(self).partition("://")[2].partition("/")[0]
        lines = f"Host: {host}\r\nContent-Type: application/json\r\n"
        if key is None:
            return lines
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError("The key must have printable ASCII characters only, and no spaces.")
        if not self.is_https and not is_loopback(self.host):
            warnings.warn(f"The key is sent to {self.host} without encryption: use https.", UserWarning, stacklevel=4)
        return f"{lines}Authorization: Bearer {key}\r\n"
