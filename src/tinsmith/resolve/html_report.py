"""The report of a run: one HTML file that loads nothing, needs no script and escapes all that is not ours."""

import functools
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from tinsmith import __version__
from tinsmith.events import RunLog
from tinsmith.resolve.run_view import SPANS, RunView, Turn, view_of

if TYPE_CHECKING:
    from jinja2 import Template

_BAR = 280
"""Width of the longest bar of the timeline, in CSS pixels."""
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Control and direction characters, and what is no character: HTML forbids some, others hide what a line says."""

_MEANING = {
    "resolved": ("✓", "Resolved", "What was broken works, and everything that worked before still does."),
    "unverified": ("?", "Unverified", "There is a patch, but nothing proves it. Read it before you use it."),
    "unresolved": ("✗", "Not resolved", "No change passed the tests. The last state is kept as a patch."),
    "error": ("!", "Failed", "The run ended in an error. It can be resumed."),
    "interrupted": ("‖", "Interrupted", "The run did not come to its end. It can be resumed."),
}


def write_html(log: RunLog, patch: str) -> str:
    """The page for a run, from its events and its patch in git's format ("" where there is none).

    Redacted; always encodable as UTF-8. Raises InputError `log_corrupt`.
    """
    view = view_of(log, patch)
    symbol, verdict, meaning = _MEANING.get(view.status, ("•", view.status.capitalize(), ""))
    return _template().render(
        view=view,
        symbol=symbol,
        verdict=verdict,
        meaning=_meaning(view, meaning),
        bars=_bars(view.turns),
        spans=SPANS,
        has_patch=bool(view.files),
        version=__version__,
    )


@functools.cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, finalize=_visible
    )
    environment.filters.update(seconds=_seconds, count=_count, percent=_percent)
    environment.tests["turn"] = _is_turn
    return environment.from_string((files("tinsmith.resolve") / "report.html.jinja").read_text(encoding="utf-8"))


def _is_turn(value: Any) -> bool:
    return isinstance(value, Turn)


def _meaning(view: RunView, meaning: str) -> str:
    """The verdict in figures where there are some."""
    flipped = sum(test.after == "passed" for test in view.tests)
    if view.status == "resolved" and flipped:
        failing = "1 test that failed now passes" if flipped == 1 else f"{flipped} tests that failed now pass"
        kept = view.still_passing
        return f"{failing}; {'the' if kept is None else f'all {kept}'} tests that passed before still pass."
    if view.status == "unresolved" and not view.files:
        return "No change passed the tests, and none is left."
    return meaning


def _bars(turns: list[Turn]) -> dict[int, list[tuple[str, float, float]]]:
    """For each turn, by its place in the list, (span, x, width) of its bar's parts; none where times are unknown."""
    longest = max((turn.total for turn in turns), default=0.0)
    bars: dict[int, list[tuple[str, float, float]]] = {}
    for at, turn in enumerate(turns):
        x = 0.0
        parts: list[tuple[str, float, float]] = []
        for span in SPANS if longest else ():
            width = turn.seconds[span] / longest * _BAR
            if width >= 0.1:
                parts.append((span, round(x, 1), round(width, 1)))
            x += width
        bars[at] = parts
    return bars


def _visible(value: Any) -> Any:
    """Makes what a browser would hide or refuse visible: `\\u202e` as six characters."""
    if type(value) is not str:  # markup of the template's own, numbers
        return value
    return _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", value)


def _seconds(value: float) -> str:
    if value >= 100:
        return f"{int(value) // 60} min {int(value) % 60} s"
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
