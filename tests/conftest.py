"""What holds for every test."""

import os
import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> Iterator[None]:
    """As for a job in the foreground, however the tests were started: a child inherits what is ignored."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> Iterator[None]:
    """As at a desk, also in CI: pytest prints longer summaries where these are set, and takes options from them."""
    before = {name: os.environ.pop(name) for name in ("CI", "BUILD_NUMBER", "PYTEST_ADDOPTS") if name in os.environ}
    yield
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def built_in_engine() -> Iterator[None]:
    """What a test computes with does not depend on the machine: a `llama-server` is used by those that name it."""
    before = os.environ.get("TINSMITH_LLAMA_SERVER")
    os.environ["TINSMITH_LLAMA_SERVER"] = "none"
    yield
    os.environ.pop("TINSMITH_LLAMA_SERVER")
    if before is not None:
        os.environ["TINSMITH_LLAMA_SERVER"] = before
