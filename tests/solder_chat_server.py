"""Solder behind an endpoint of messages: what a chat engine is tried with where a real model shall answer.

Solder does not write, it ranks. So this server does for it what the loop does with its ids: it lists the one-line edits
of a file, has Solder order them after the person's message, and answers each request with a call.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.fake_chat_server import FakeChatServer

from tinsmith.agent import as_options, by_likelihood
from tinsmith.dialects import Call, Encoder, QwenXml, Text
from tinsmith.dialects.writing import opener_span
from tinsmith.engines import TokenEngine
from tinsmith.models import cards
from tinsmith.tools import EDIT, candidate_edits

FINISH = Call("finish", {"summary": "the tests pass"})


class SolderChatServer(FakeChatServer):
    """Edits lines `lines` of `path`, the likeliest way first, until the tests pass."""

    def __init__(self, engine: TokenEngine, source: Path, path: str, lines: range) -> None:
        super().__init__([])
        self._engine, self._path = engine, path
        self._text = source.read_text()
        self._lines = lines
        self._left: list[tuple[int, str]] = []
        self._changed: int | None = None

    def call_for(self, body: Mapping[str, Any], step: int) -> Call:
        """The next call: the best edit that was not tried, on lines that are otherwise as they were."""
        messages = body["messages"]
        if "Call finish" in messages[-1]["content"]:
            return FINISH
        if not step:
            self._left = self._ranked(messages[1]["content"])
        line, new = self._left[0]
        if self._changed not in (None, line):
            line, new = self._changed, self._text.split("\n")[self._changed - 1]
            self._changed = None
        else:
            self._left.pop(0)
            self._changed = line
        return Call(EDIT.name, {"path": self._path, "start": str(line), "end": str(line), "new": new})

    def _ranked(self, brief: str) -> list[tuple[int, str]]:
        edits = [(line, new) for line in self._lines for new in candidate_edits(self._text, line, limit=32)]
        calls = [
            Call(EDIT.name, {"path": self._path, "start": str(line), "end": str(line), "new": new})
            for line, new in edits
        ]
        dialect, system = QwenXml(), cards()["solder"].system
        assert system is not None
        encoder = Encoder(self._engine.tokenize, self._engine.vocabulary.reserved, self._engine.tokenize_all)
        opening = [*dialect.system(system, ()), *dialect.user(brief), *dialect.assistant_start()]
        call = [opener_span(dialect), *dialect.tool_start(), Text(dialect.tool_literal(EDIT.name))]
        prefix = [token for span in (*opening, *call) for token in encoder.encode([span])]
        order = by_likelihood(self._engine, prefix, as_options(dialect, encoder, EDIT, calls))
        return [edits[index] for index in order]
