"""A request and its redirects: who is given the token, and what a status means for a person."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from tinsmith.errors import InputError
from tinsmith.models.download_retry import AGAIN

if TYPE_CHECKING:
    import httpx

_REDIRECTS = 10


class Again(Exception):
    """This request failed, another may not.  `status` is the HTTP status, 0 for a connection that broke."""

    def __init__(self, what: str, *, status: int = 0, retry_after: str | None = None) -> None:
        super().__init__(what)
        self.what, self.status, self.retry_after = what, status, retry_after


@contextlib.contextmanager
def opened(
    client: "httpx.Client",
    url: str,
    headers: Mapping[str, str],
    token: str,
    learn: Callable[["httpx.Headers"], None] = lambda headers: None,
) -> "Generator[httpx.Response]":
    """The answer to a GET, its body not yet read, after its redirects.

    The token goes to the origin (scheme, host, port) of `url` alone: not to a host that it redirects to, and not back
    from there.  `learn` sees the headers of the first answer.  Raises InputError `bad_address`, and what `httpx` does.
    """
    first, place = url, client.build_request("GET", url).url
    for number in range(_REDIRECTS):
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        request = client.build_request("GET", place, headers={**headers, **authorization})
        response = client.send(request, stream=True)
        try:
            if number == 0:
                learn(response.headers)
            if not response.has_redirect_location:
                yield response
                return
            target = place.join(response.headers["Location"])
            if target.scheme not in ("http", "https") or (place.scheme == "https" and target.scheme == "http"):
                remedy = "Name another mirror: this one would send the file where anybody could change it."
                raise InputError("bad_address", f"{shown(first)} redirects to {target.scheme}://{target.host}", remedy)
            if (target.scheme, target.host, target.port) != (place.scheme, place.host, place.port):
                token = ""
            place = target
        finally:
            response.close()
    raise InputError("bad_address", f"{shown(first)} redirects without end", "Look at the address, or another mirror.")


def check_status(response: "httpx.Response", url: str, *, has_token: bool) -> None:
    """Raises what a status means: InputError `not_found`, `not_allowed`, `bad_address`; Again.

    200, 206 and 416 are left to the caller.
    """
    status, where = response.status_code, shown(url)
    if status in (200, 206, 416):
        return
    if status in AGAIN:
        raise Again(
            f"{urlsplit(url).hostname} answers {status}", status=status, retry_after=response.headers.get("Retry-After")
        )
    raise refusal(status, where, has_token=has_token)


def refusal(status: int, where: str, *, has_token: bool) -> InputError:
    """The error for an answer that will be the same the next time."""
    if status in (404, 410):
        remedy = "Look at its spelling: owner, repository, file or tag, upper and lower case."
        return InputError("not_found", f"there is no {where} (HTTP {status})", remedy)
    if status in (401, 403, 451):
        remedy = "Accept the model's conditions on its page, then give a token in TINSMITH_HUB_TOKEN."
        if has_token:
            remedy = "The token was sent: see that it is valid and that its owner has accepted the model's conditions."
        return InputError("not_allowed", f"{where} is not for everybody (HTTP {status})", remedy)
    return InputError("bad_address", f"{where} answers with HTTP {status}", "Look at the address, or name a mirror.")


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
