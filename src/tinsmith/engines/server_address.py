"""Where a server is: a base URL that a person gives, taken apart."""

import http.client
from typing import NamedTuple
from urllib.parse import urlsplit

from tinsmith.errors import InputError

CONNECT_SECONDS = 10.0
"""How long a server may take to accept a connection."""


class ServerAddress(NamedTuple):
    """A server's scheme, host, port and the path before all of its endpoints (empty, or begins with a slash)."""

    secure: bool
    host: str
    port: int
    prefix: str = ""

    def connection(self) -> http.client.HTTPConnection:
        """A connection, not yet made; proxies of the environment are not used."""
        if self.secure:
            return http.client.HTTPSConnection(self.host, self.port, timeout=CONNECT_SECONDS)
        return http.client.HTTPConnection(self.host, self.port, timeout=CONNECT_SECONDS)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.prefix}"


def server_address(base_url: str) -> ServerAddress:
    """The address of `http://HOST[:PORT][/PREFIX]`; a last `/v1` is left out, as not every endpoint is below it.

    Raises InputError `bad_base_url`.
    """
    try:
        parts = urlsplit(base_url.strip())
        port = parts.port
    except ValueError as error:
        raise _bad(base_url, str(error)) from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _bad(base_url, "it is not of the form http://HOST:PORT")
    if parts.username is not None or parts.query or parts.fragment:
        raise _bad(base_url, "it holds more than scheme, host, port and path")
    secure = parts.scheme == "https"
    prefix = parts.path.rstrip("/")
    return ServerAddress(secure, parts.hostname, port or (443 if secure else 80), prefix.removesuffix("/v1"))


def _bad(base_url: str, reason: str) -> InputError:
    return InputError(
        "bad_base_url",
        f"{base_url!r} cannot be used as a server's address: {reason}",
        "Give it as http://127.0.0.1:8080, or with /v1 at its end; a key belongs into its own setting.",
    )
