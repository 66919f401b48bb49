"""A run's log that keeps its events in a list."""

import json
from typing import Any

from tinsmith.agent import branches_in


class FakeLog:
    """Takes events as a log does: what it keeps went through JSON."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def append(self, type: str, /, **data: Any) -> None:
        self.events.append(json.loads(json.dumps({**data, "type": type})))

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]

    def branches(self) -> dict[int, list[int]]:
        """The ids of every branch as the log alone tells them."""
        return branches_in(self.events)
