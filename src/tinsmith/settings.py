"""What is settled before a run: flags, environment, the repository's file, the person's file, defaults.

The first that names a value decides.  The repository's `tinsmith.toml` is written by strangers: it chooses how its
tests are run in the sandbox and which built-in model it prefers, its limits only lower those of the person's file and
of the defaults, and it names nothing that is executed, opened or written on this machine.  Configuration is for
every room above, as `tinsmith.errors` is.
"""

import difflib
import os
import re
import shlex
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from tinsmith.errors import InputError

_SANDBOXES = ("bubblewrap", "landlock", "none")
REPOSITORY_FILE = "tinsmith.toml"
_MAX_BYTES = 64 << 10
_PROJECT = ("pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini", "tests", "test")


@dataclass(frozen=True)
class Setting:
    """One setting: its type, its bounds, who may give it.

    `program` is a path or a name on PATH, `arguments` are split as a shell does, a `secret` is never shown.
    `repository`: `chooses` (its value counts before the person's file), `narrows` (it can only lower the person's
    file and the default), or `never`.
    """

    kind: Literal["text", "program", "path", "arguments", "secret", "number", "url", "switch"]
    repository: Literal["chooses", "narrows", "never"]
    environment: str = ""
    least: int = 0
    most: int = 0
    others_environment: str = ""
    """A variable of another program that says the same; it counts where ours is not set."""


SETTINGS: Mapping[str, Setting] = {
    "model": Setting("text", "chooses", "TINSMITH_MODEL"),
    "python": Setting("program", "never", "TINSMITH_PYTHON"),
    "test_command": Setting("text", "chooses"),
    "package": Setting("text", "chooses"),
    "attempts": Setting("number", "never", least=1, most=16),
    # The highest number means "draw one" to llama.cpp.
    "seed": Setting("number", "never", least=0, most=2**32 - 2),
    "context": Setting("number", "never", least=1_024, most=100_000_000),
    "dialect": Setting("text", "never"),
    "sandbox": Setting("text", "never", "TINSMITH_SANDBOX"),
    "llama_server": Setting("program", "never", "TINSMITH_LLAMA_SERVER"),
    "llama_server_arguments": Setting("arguments", "never", "TINSMITH_LLAMA_SERVER_ARGUMENTS"),
    "vocabulary": Setting("path", "never", "TINSMITH_VOCABULARY"),
    "api_key": Setting("secret", "never", "TINSMITH_API_KEY"),
    "hub": Setting("url", "never", "TINSMITH_HUB", others_environment="HF_ENDPOINT"),
    "hub_token": Setting("secret", "never", "TINSMITH_HUB_TOKEN", others_environment="HF_TOKEN"),
    "ollama_registry": Setting("url", "never", "TINSMITH_OLLAMA_REGISTRY"),
    "offline": Setting("switch", "never", "TINSMITH_OFFLINE", others_environment="HF_HUB_OFFLINE"),
    "max_turns": Setting("number", "narrows", least=1, most=10_000),
    "max_test_runs": Setting("number", "narrows", least=1, most=10_000),
    "max_seconds": Setting("number", "narrows", least=1, most=7 * 86_400),
    "max_tokens": Setting("number", "narrows", least=1, most=1_000_000_000),
    "test_timeout": Setting("number", "narrows", least=1, most=86_400),
    "agents_tokens": Setting("number", "narrows", least=0, most=4_000),
}


@dataclass(frozen=True)
class Settings:
    """The values of one command.  `test_timeout` and `max_seconds` are in seconds, `agents_tokens` bounds AGENTS.md."""

    model: str = "solder"
    python: Path | None = None
    """A path, or a name to be found on PATH; None: see `tinsmith.workspace.find_python`."""
    test_command: str | None = None
    """None: `PYTHON -m pytest`."""
    package: str = ""
    """The directory below the checkout's top where the tests run; empty for the top itself."""
    attempts: int = 1
    seed: int = 1
    context: int | None = None
    """The context window in tokens; None: what the model's card or the server says."""
    dialect: str = "auto"
    """How the model writes calls, by the name of a dialect; `auto`: as its card, its file or its server says."""
    sandbox: Literal["bubblewrap", "landlock", "none"] = "bubblewrap"
    """What tests and the model's commands run in; a repository never chooses it."""
    llama_server: Path | None = None
    """The `llama-server` binary; `none`: use no binary; None: the one on PATH, if there is one."""
    llama_server_arguments: tuple[str, ...] = ()
    vocabulary: Path | None = None
    """A GGUF file or a tokenizer directory, for a server whose vocabulary cannot be had otherwise."""
    api_key: str = field(default="", repr=False)
    """The key of the server that `model` names."""
    hub: str = "https://huggingface.co"
    """The Hugging Face-compatible hub that `tinsmith models pull` asks: the public one, or a mirror."""
    hub_token: str = field(default="", repr=False)
    """Who one is at `hub`; sent to that address and to no other."""
    ollama_registry: str = "https://registry.ollama.ai"
    offline: bool = False
    """Nothing is downloaded, not even where a command is named after it."""
    max_turns: int = 60
    max_test_runs: int = 20
    max_seconds: int = 3600
    max_tokens: int = 2_000_000
    test_timeout: int = 300
    agents_tokens: int = 400
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where each value came from: a flag, a variable, a file, or `default`."""

    @classmethod
    def load(cls, repo: Path, flags: Mapping[str, object], environment: Mapping[str, str] = os.environ) -> "Settings":
        """The settings for the checkout that `repo` lies in; flags that are None were not given.

        A `repo` below the top that looks like a project of its own is the package.  Raises InputError
        `not_a_repository` and the like as `open_checkout` does, `bad_settings`, `no_package`.
        """
        from tinsmith.workspace import open_checkout

        top = open_checkout(repo).top
        repository = _read(top / REPOSITORY_FILE, is_repository=True)
        settings = cls._of(flags, environment, repository, _project_of(repo.resolve(), top))
        if settings.sources["package"] == "default":
            return settings
        return replace(settings, package=_package(settings.package, top, settings.sources["package"]))

    @classmethod
    def of_person(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """What the environment and the person's own file say, wherever that is asked.  Raises InputError
        `bad_settings`."""
        return cls._of({}, environment, {}, "")

    @classmethod
    def _of(
        cls,
        flags: Mapping[str, object],
        environment: Mapping[str, str],
        repository: Mapping[str, tuple[str, Any]],
        project: str,
    ) -> "Settings":
        unknown = set(flags) - set(SETTINGS)
        assert not unknown, unknown
        given = {name: (f"--{name.replace('_', '-')}", value) for name, value in flags.items() if value is not None} | {
            name: (variable, environment[variable])
            for name, setting in SETTINGS.items()
            for variable in (setting.others_environment, setting.environment)
            if flags.get(name) is None and variable and environment.get(variable)
        }
        command = {name: (source, _checked(name, value, source)) for name, (source, value) in given.items()}
        person = _read(_person_file(environment), is_repository=False)
        if "package" not in command and project:
            command["package"] = ("--repo", project)
        values: dict[str, Any] = {}
        sources = dict.fromkeys(SETTINGS, "default")
        for name, setting in SETTINGS.items():
            choices = [command.get(name), person.get(name)]
            if setting.repository == "chooses":
                choices.insert(1, repository.get(name))
            chosen = next((choice for choice in choices if choice is not None), None)
            if setting.repository == "narrows" and name in repository and name not in command:
                source, most = repository[name]
                if most < (chosen[1] if chosen else getattr(cls, name)):
                    chosen = (source, most)
            if chosen is not None:
                sources[name], values[name] = chosen
        return cls(**values, sources=sources)


def _person_file(environment: Mapping[str, str]) -> Path:
    """$XDG_CONFIG_HOME/tinsmith/config.toml, else ~/.config/tinsmith/config.toml."""
    named = environment.get("XDG_CONFIG_HOME", "")
    # The XDG specification says to ignore a relative value.
    place = Path(named) if os.path.isabs(named) else Path(environment.get("HOME", "/nonexistent"), ".config")
    return place / "tinsmith" / "config.toml"


def _read(path: Path, *, is_repository: bool) -> dict[str, tuple[str, Any]]:
    """{name: (source, value)} of a file; nothing where there is none."""
    text = _text_of(path, is_repository=is_repository)
    if text is None:
        return {}
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = re.sub(r"\s*\(at .*\)$", "", str(error))
        place = re.search(r"line (\d+), column (\d+)", str(error))
        where = f", line {place[1]}, column {place[2]}" if place else ", at its end"
        raise _bad(f"{path}{where}: {words}", "Write it as TOML: https://toml.io.") from error
    allowed = [name for name, row in SETTINGS.items() if not is_repository or row.repository != "never"]
    said = f"{'A repository' if is_repository else 'This file'} may set, under [resolve]: {', '.join(allowed)}."
    for table, content in tables.items():
        if table != "resolve" or not isinstance(content, dict):
            raise _bad(f"{path}{_line_of(text, table)}: there is no setting {table!r} here", said)
    found: dict[str, tuple[str, Any]] = {}
    for name, value in tables.get("resolve", {}).items():
        where = f"{path}{_line_of(text, name)}"
        if name not in SETTINGS:
            close = difflib.get_close_matches(name, allowed, 1)
            raise _bad(f"{where}: there is no setting {name!r}", f"Did you mean {close[0]}? {said}" if close else said)
        if name not in allowed:
            raise _bad(f"{where}: a repository may not set {name}, only you may", f"Take it out. {said}")
        found[name] = (str(path), _checked(name, value, where, in_file=True, is_repository=is_repository))
    return found


def _text_of(path: Path, *, is_repository: bool) -> str | None:
    """The text of a settings file, None where there is none.  A repository's may not be a symlink out of it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if is_repository else 0))
        with os.fdopen(fd, "rb") as stream:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError("it is not a regular file")
            content = stream.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        words = "it is a symlink" if path.is_symlink() else error.strerror or str(error)
        raise _bad(f"{path} cannot be read: {words}", "Make it a readable regular file, or remove it.") from error
    if len(content) > _MAX_BYTES:
        raise _bad(f"{path} is longer than {_MAX_BYTES} bytes", "Keep settings alone in it.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _bad(f"{path} is not UTF-8", "Save it as UTF-8.") from error


def _checked(name: str, value: object, where: str, *, in_file: bool = False, is_repository: bool = False) -> Any:
    """`value` in its type.  Flags and variables are text; in a file a number is a number."""
    setting = SETTINGS[name]
    if setting.kind == "number":
        if not in_file and isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d{1,18}\s*", value, re.ASCII):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _bad(f"{where}: {name} is a whole number, not {_shown(value)}", _range(setting))
        if not setting.least <= value <= setting.most:
            raise _bad(f"{where}: {name} cannot be {value}", _range(setting))
        return value
    if setting.kind == "secret":
        return _key(name, value, where)
    if setting.kind == "switch":
        return _switch(name, value, where)
    if not isinstance(value, str | os.PathLike) or not str(value).strip() or "\0" in str(value):
        raise _bad(f"{where}: {name} is a text, not {_shown(value)}", "Give it a text with something in it.")
    text = str(value)
    if setting.kind == "url":
        return _url(name, text, where)
    if setting.kind == "arguments":
        try:
            return tuple(shlex.split(text))
        except ValueError as error:
            raise _bad(f"{where}: {name} cannot be split: {error}", "Write it as in a shell.") from error
    if setting.kind in ("program", "path"):
        if setting.kind == "program" and os.sep not in text:
            return Path(text)
        place = Path(text).expanduser()
        if in_file and not place.is_absolute():
            remedy = "Give an absolute path" + (", or a name that is on PATH." if setting.kind == "program" else ".")
            raise _bad(f"{where}: {name} is a relative path", remedy)
        return Path(os.path.abspath(place))
    if name == "sandbox" and text not in _SANDBOXES:
        raise _bad(f"{where}: there is no sandbox {_shown(text)}", f"Give one of: {', '.join(_SANDBOXES)}.")
    if name == "model" and is_repository:
        _check_preference(text, where)
    elif name == "model" and "://" not in text and (os.sep in text or text.endswith(".gguf")):
        # A run may be resumed from another directory.
        return os.path.abspath(Path(text).expanduser())
    return text


def _key(name: str, value: object, where: str) -> str:
    """`value` as it can stand in a header.  Whatever is wrong with it, it is not shown."""
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value.strip()):
        raise _bad(f"{where}: {name} is no key (it is not shown)", "Give it as one word of ASCII, in quotes.")
    return value.strip()


def _switch(name: str, value: object, where: str) -> bool:
    word = value if isinstance(value, bool) else str(value).strip().lower()
    if word in (True, "1", "true", "yes", "on"):
        return True
    if word in (False, "0", "false", "no", "off"):
        return False
    raise _bad(f"{where}: {name} is yes or no, not {_shown(value)}", "Give it as 1 or 0, in a file as true or false.")


def _url(name: str, text: str, where: str) -> str:
    """The top of a server, without a slash at its end."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise _bad(f"{where}: {name} is no address of a server: {_shown(text)}", "Write it as https://HOST[:PORT].")
    if parts.username is not None:
        raise _bad(f"{where}: {name} holds no user and no password", "Give a token in TINSMITH_HUB_TOKEN.")
    return text.rstrip("/")


def _check_preference(model: str, where: str) -> None:
    """A repository must not make us open a file or reach an address: only models that come with Tinsmith."""
    from tinsmith.models import cards

    known = [card.id for card in cards().values() if card.file]
    if model not in known:
        words = f"A repository may prefer one of: {', '.join(known)}. Name any other yourself, with --model."
        raise _bad(f"{where}: a repository may not name the model {model!r}", words)


def _project_of(repo: Path, top: Path) -> str:
    """The nearest directory from `repo` up to below `top` that looks like a project with tests; empty for none."""
    place = repo
    while place != top and place.is_relative_to(top):
        if any((place / name).exists() for name in _PROJECT):
            return place.relative_to(top).as_posix()
        place = place.parent
    return ""


def _package(value: str, top: Path, source: str) -> str:
    """`value` as a plain path below `top`."""
    parts = PurePosixPath(value).parts
    place = (top / value).resolve()
    inside = place.is_relative_to(top) and not PurePosixPath(value).is_absolute() and ".." not in parts
    if not inside or not place.is_dir() or ".git" in (part.casefold() for part in parts):
        raise InputError(
            "no_package",
            f"{source}: there is no directory {value!r} in {top}",
            "Name a directory by its path from the top of the checkout.",
        )
    return "" if place == top else place.relative_to(top).as_posix()


def _line_of(text: str, name: str) -> str:
    """`, line N` of the first place that names a key or table; nothing where it is written in another way."""
    pattern = re.compile(rf"\s*(?:\[\s*)?(?:resolve\s*\.\s*)?[\"']?{re.escape(name)}[\"']?\s*[\]=.]")
    for number, line in enumerate(text.split("\n"), 1):
        if pattern.match(line):
            return f", line {number}"
    return ""


def _range(setting: Setting) -> str:
    return f"Give a whole number from {setting.least} to {setting.most}."


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "…"


def _bad(message: str, remedy: str) -> InputError:
    return InputError("bad_settings", message, remedy)
