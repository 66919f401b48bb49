"""When a request is made again, and after how long: broken connections, 5xx, and 429 with its Retry-After."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tinsmith.errors import MachineError

Say = Callable[[str], None]
AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""HTTP statuses that may be otherwise the next time."""


@dataclass(frozen=True)
class Patience:
    """How often and how long.  The n-th pause in a row is `first` * 2^n seconds, at most `longest`, less up to half."""

    attempts: int = 6
    """Failures in a row without a new byte before the command gives up."""
    first: float = 1.0
    longest: float = 30.0
    longest_asked: float = 300.0
    """A server that asks for a longer wait than this is not waited for."""
    stall: float = 60.0
    """Seconds without a byte after which a connection counts as broken."""


class Retries:
    """The failures of one download so far."""

    def __init__(self, patience: Patience, say: Say) -> None:
        self._patience, self._say = patience, say
        self._failures = 0

    def progressed(self) -> None:
        """A new byte came: the count begins again."""
        self._failures = 0

    def wait(self, what: str, *, retry_after: str | None = None, status: int = 0) -> None:
        """Waits before the next attempt and says so.

        Raises MachineError `rate_limited` where the server asks for too long a wait, `server_unavailable` or
        `network_unreachable` after too many failures in a row.
        """
        self._failures += 1
        asked = seconds_asked(retry_after)
        if asked is not None and asked > self._patience.longest_asked:
            raise MachineError(
                "rate_limited" if status == 429 else "server_unavailable",
                f"{what}; it asks to wait {asked:.0f} seconds",
                "Run the command again after that: it goes on where it stopped. A token often raises the limit.",
            )
        if self._failures >= self._patience.attempts:
            codes = {0: "network_unreachable", 429: "rate_limited"}
            raise MachineError(
                codes.get(status, "server_unavailable"),
                f"{what}; {self._failures} attempts in a row failed",
                "Run the command again later: it goes on where it stopped. `hub` in your settings names a mirror.",
            )
        pause = min(self._patience.first * 2 ** (self._failures - 1), self._patience.longest)
        pause *= random.uniform(0.5, 1.0)
        if asked is not None:
            pause = max(asked, pause)
        self._say(f"{what}; again in {pause:.0f} s{' (as it asks)' if asked else ''}")
        time.sleep(pause)


def seconds_asked(retry_after: str | None) -> float | None:
    """The value of a Retry-After header, seconds or an HTTP date (RFC 9110, 10.2.3), in seconds from now."""
    if not retry_after:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
