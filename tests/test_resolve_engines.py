"""Which engine a whole run computes with, what the log and the person are told of it, and where the key goes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fake_chat_server import FakeChatServer
from tests.fake_engine import FakeEngines, write_free_model
from tests.fake_vllm import FakeVLLM, write_tokenizer
from tests.shop import ISSUE, make_shop, request
from tests.test_lost_calls import EDIT, FINISH, QUICK, READ, SCRIPT
from tests.wheel_as_server import write_binary

from tinsmith.agent import ChatSpeaker, TokenSpeaker
from tinsmith.dialects import Call
from tinsmith.engines import EngineChoice
from tinsmith.engines.child_process import ChildProcess
from tinsmith.engines.served_template import template_at, template_in_properties
from tinsmith.errors import InputError
from tinsmith.events import RunStore
from tinsmith.models import find_endpoint, find_model
from tinsmith.resolve import Result, resolve, resume
from tinsmith.resolve.speaking import Speaking, speak_with_endpoint

KEY = "a-key-of-mine-27182818"
TEMPLATES = Path(__file__).parent / "data" / "templates"


@pytest.fixture(scope="module")
def solder() -> Iterator[ChildProcess]:
    """A llama-server with Solder that somebody else started."""
    child = ChildProcess(find_model("solder").path, 4096)
    yield child
    child.kill()


def url_of(server: ChildProcess) -> str:
    return f"http://127.0.0.1:{server.port}"


def engine_events(result: Result, place: Path) -> list[dict[str, Any]]:
    events = RunStore(place / "state").open(result.run).events()
    return [dict(event) for event in events if event["type"] == "engine"]


@pytest.mark.parametrize("kind", ["wheel", "binary", "attached"])
def test_solder_resolves_with_each_engine(kind: str, solder: ChildProcess, tmp_path: Path) -> None:
    binary = write_binary(tmp_path)
    model, choice, words = {
        "wheel": ("solder", None, "built-in llama.cpp (xllamacpp "),
        "binary": ("solder", EngineChoice(str(binary)), f"llama-server {binary}"),
        "attached": (url_of(solder), EngineChoice(key=solder.key), f"llama-server at {url_of(solder)}"),
    }[kind]
    lines: list[str] = []
    asked = request(make_shop(tmp_path), tmp_path, model=model, test_command=QUICK)
    result = resolve(asked, lines.append, choice=choice)
    assert result.status == "resolved", (result.reason, lines)
    assert result.evidence.after == {"tests/test_shop.py::test_ten_get_the_discount": "passed"}
    assert result.patch is not None and "count >= 10" in result.patch.read_text()
    (event,) = engine_events(result, tmp_path)
    assert event["engine"].startswith(words)
    assert (event["card"], event["dialect"], event["context_window"]) == ("solder", "qwen-xml", 4096)
    (line,) = [line for line in lines if line.startswith("computing with ")]
    assert line == f"computing with {event['engine']}"
    assert not any("are waived" in line for line in lines)


def speak(
    url: str, choice: EngineChoice | None = None, context: int | None = None, dialect: str = "auto"
) -> tuple[Speaking, list[str]]:
    """What comes of `--model url`, already closed."""
    endpoint, lines = find_endpoint(url), list[str]()
    assert endpoint is not None
    speaking = speak_with_endpoint(
        endpoint, choice or EngineChoice(), context, dialect, lines.append, lambda reason: None, None
    )
    speaking.speaker.engine.close()
    return speaking, lines


def test_a_server_of_ids_is_spoken_to_in_its_models_dialect(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    with FakeVLLM(str(tmp_path)) as fake:
        # No template, but Qwen's delimiters.
        spoken, lines = speak(fake.url)
        assert isinstance(spoken.speaker, TokenSpeaker) and spoken.speaker.turns.name == "qwen-xml"
        assert (spoken.card.edit_domain, spoken.speaker.engine.context_window) == ("free", 4096)
        assert spoken.described.startswith("vLLM at ") and any("its dialect is qwen-xml" in line for line in lines)
        assert speak(fake.url, context=2000)[0].speaker.engine.context_window == 2000
        assert speak(fake.url, context=9000)[0].speaker.engine.context_window == 4096
        assert speak(fake.url, dialect="qwen-thinking")[0].speaker.turns.name == "qwen-thinking"
        (tmp_path / "chat_template.jinja").write_text((TEMPLATES / "qwen3.6.jinja").read_text())
        assert speak(fake.url)[0].speaker.turns.name == "qwen-thinking"


def test_why_a_server_is_asked_with_messages(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_text((TEMPLATES / "granite-4.0.jinja").read_text())
    with FakeVLLM(str(tmp_path)) as fake, FakeVLLM("some/model") as elsewhere, FakeChatServer(SCRIPT) as chat:
        for url, dialect, words in (
            (fake.url, "auto", "no dialect of ours writes calls as its chat template does"),
            (fake.url, "mistral-v13", "its vocabulary lacks "),
            (fake.url, "template", "its own chat template was asked for"),
            (elsewhere.url, "auto", "vocabulary cannot be had"),
            (chat.url, "auto", "takes messages, not token ids"),
        ):
            spoken, lines = speak(url, dialect=dialect)
            assert isinstance(spoken.speaker, ChatSpeaker) and spoken.speaker.turns.name == "chat"
            assert lines[0].startswith(f"{url} is used as a chat server: ") and words in lines[0]
            assert sum("are waived" in line for line in lines) == 1
            assert spoken.described.endswith(f"at {url}, by messages")
        # The vocabulary makes a token engine of it.
        assert isinstance(speak(elsewhere.url, EngineChoice(vocabulary=tmp_path))[0].speaker, ChatSpeaker)
        (tmp_path / "chat_template.jinja").unlink()
        assert isinstance(speak(elsewhere.url, EngineChoice(vocabulary=tmp_path))[0].speaker, TokenSpeaker)


def test_that_code_leaves_this_machine_is_said() -> None:
    """0.0.0.0 is this machine too, but only where the system says so: for us it is an address like any other."""
    with FakeChatServer(SCRIPT) as server:
        _, lines = speak(server.url.replace("127.0.0.1", "0.0.0.0"))
    assert lines[0] == "code leaves this machine: it is sent to 0.0.0.0"


def test_the_template_of_a_server(tmp_path: Path) -> None:
    assert template_in_properties({"chat_template": "a"}) == "a" and template_in_properties({}) == ""
    assert template_in_properties({"chat_template": "a", "chat_template_tool_use": "b"}) == "b"
    assert template_at(tmp_path) == ""
    config = tmp_path / "tokenizer_config.json"
    for written, template in (
        ("not JSON", ""),
        ("[]", ""),
        ('{"chat_template": "c"}', "c"),
        ('{"chat_template": [{"name": "default", "template": "d"}]}', "d"),
        (
            '{"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "e"}]}',
            "e",
        ),
    ):
        config.write_text(written)
        assert template_at(tmp_path) == template, written
    (tmp_path / "chat_template.jinja").write_text("f")
    assert template_at(tmp_path) == "f"
    assert "im_start" in template_at(find_model("solder").path)


def test_a_wrong_dialect_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        resolve(request(make_shop(tmp_path), tmp_path, dialect="qwen"))
    assert caught.value.code == "unknown_dialect"
    assert all(name in caught.value.remedy for name in ("qwen-xml", "mistral-v13", "template", "auto"))
    assert RunStore(tmp_path / "state").list() == ()


# Going on.


def stop_after_first_turn(line: str) -> None:
    if line.startswith("turn 1:"):
        raise KeyboardInterrupt


def test_a_resumed_run_asks_for_the_key_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeChatServer(SCRIPT) as server:
        asked = request(make_shop(tmp_path), tmp_path, model=server.url, test_command=QUICK, context=20_000)
        first = resolve(asked, stop_after_first_turn, choice=EngineChoice(key=KEY))
        assert first.status == "interrupted"
        monkeypatch.setenv("TINSMITH_API_KEY", "another-key")
        second = resume(first.run, state_dir=tmp_path / "state")
    assert second.status == "resolved", second.reason
    assert [headers["Authorization"] for headers in server.headers] == [f"Bearer {KEY}"] + ["Bearer another-key"] * 2
    assert [event["context_window"] for event in engine_events(second, tmp_path)] == [20_000, 20_000]


def test_a_run_does_not_go_on_in_another_dialect(tmp_path: Path) -> None:
    engines = FakeEngines(SCRIPT)
    asked = request(
        make_shop(tmp_path), tmp_path, model=str(write_free_model(tmp_path)), test_command=QUICK, dialect="qwen-xml"
    )
    first = resolve(asked, stop_after_first_turn, open_engine=engines)
    with RunStore(tmp_path / "state").open(first.run) as log:
        (asked_for,) = [event for event in log.events() if event["type"] == "request"]
        assert asked_for["dialect"] == "qwen-xml"
        log.append("engine", engine="a server", model="m", dialect="chat", context_window=4096)
    second = resume(first.run, state_dir=tmp_path / "state", open_engine=engines)
    assert second.error is not None
    assert (second.error.code, second.error.exit_code) == ("engine_changed", 5)


# The key.


def test_the_key_reaches_the_server_and_nothing_else(tmp_path: Path) -> None:
    """From the person's own file; neither the log, nor what is said, nor a command of the model's has it."""
    config = tmp_path / "config" / "tinsmith" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[resolve]\napi_key = "{KEY}"\n')
    look = Call("run", {"command": "env; cat /proc/*/environ | tr '\\0' '\\n'; grep -rs 27182818 / --include=*.toml"})
    command = [sys.executable, "-m", "tinsmith.cli", "resolve", "--repo", str(make_shop(tmp_path))]
    command += ["--python", sys.executable]
    with FakeChatServer([READ, look, EDIT, FINISH]) as server:
        done = subprocess.run(
            [*command, "--issue-text", ISSUE, "--json", "--model", server.url, "--test-command", QUICK],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "TINSMITH_STATE_DIR": str(tmp_path / "state"),
                "XDG_CONFIG_HOME": str(tmp_path / "config"),
                "TINSMITH_VOCABULARY": "/a-secret-of-mine-27182818",
            },
        )
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "resolved", done.stderr
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert "27182818" not in done.stdout + done.stderr and f"{config} sets api_key" in done.stderr
    files = [file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file()]
    assert any(b"PYTHONHASHSEED" in file for file in files)  # the command was run and its output is kept
    assert not any(b"27182818" in file for file in files if b"grep -rs 27182818" not in file)
    assert not any(KEY.encode() in file or b"a-secret-of-mine" in file for file in files)


def test_doctor_says_which_engine_and_why(tmp_path: Path) -> None:
    def row(name: str, **environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "tinsmith.cli", "doctor", "--json"],
            capture_output=True,
            text=True,
            env={**os.environ, "TINSMITH_LLAMA_SERVER": "", "XDG_CONFIG_HOME": str(tmp_path / "none"), **environment},
        )
        assert KEY not in done.stdout + done.stderr
        return next(row for row in json.loads(done.stdout)["rows"] if row["name"] == name)

    binary = write_binary(tmp_path)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    server = {"TINSMITH_MODEL": "http://127.0.0.1:9/v1", "TINSMITH_API_KEY": KEY}
    for environment, words in (
        ({"TINSMITH_LLAMA_SERVER": "none"}, "built-in llama.cpp, since the setting llama_server says so"),
        ({"TINSMITH_LLAMA_SERVER": str(binary)}, f"llama-server at {binary}, since the setting llama_server names it"),
        ({"PATH": path}, f"llama-server at {binary}, since it is on PATH"),
        (server, "the server at http://127.0.0.1:9/v1, since the setting model names it"),
    ):
        found = row("engine", **environment)
        assert found["ok"] and words in found["detail"]
    for name, environment, words in (
        ("engine", {"TINSMITH_LLAMA_SERVER": "/no/such/program"}, "/no/such/program"),
        ("engine", {"TINSMITH_LLAMA_SERVER": str(binary), "TINSMITH_LLAMA_SERVER_ARGUMENTS": "--port 1"}, "--port"),
        ("settings", {"TINSMITH_API_KEY": f"{KEY} and more"}, "TINSMITH_API_KEY"),
    ):
        found = row(name, **environment)
        assert not found["ok"] and found["remedy"] and words in found["detail"]
