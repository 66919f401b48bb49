"""Finished rows of a measurement as JSON lines, so that one that was interrupted goes on where it stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Rows:
    """Rows by key in one file; a torn last line is dropped and measured again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Row] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                self._found[row["key"]] = row
            # What follows must not be joined to a torn line.
            path.write_text("".join(json.dumps(row) + "\n" for row in self._found.values()), encoding="utf-8")

    def get(self, key: str, measure: Callable[[], Row]) -> Row:
        """The row of `key`, measured and written if it is not there."""
        if key not in self._found:
            row = {"key": key, **measure()}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self._found[key] = row
        return self._found[key]
