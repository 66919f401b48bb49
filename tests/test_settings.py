"""Settings: who may say what, in which order, and how a mistake is told."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tinsmith.cli.resolve import resolve
from tinsmith.engines import EngineChoice
from tinsmith.errors import InputError
from tinsmith.resolve import engine_choice
from tinsmith.settings import SETTINGS, Settings

DOCS = Path(__file__).parent.parent / "docs" / "how-to" / "your-repository.md"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "repo"
    repo.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=repo, check=True)
    return repo


@pytest.fixture
def person(tmp_path: Path) -> Path:
    file = tmp_path / "config" / "tinsmith" / "config.toml"
    file.parent.mkdir(parents=True)
    return file


def load(repo: Path, environment: dict[str, str] | None = None, **flags: object) -> Settings:
    config = repo.parent / "config" if (repo.parent / "config").is_dir() else repo.parent.parent / "config"
    return Settings.load(repo, flags, {"XDG_CONFIG_HOME": str(config), **(environment or {})})


def error_of(repo: Path, environment: dict[str, str] | None = None, **flags: object) -> InputError:
    with pytest.raises(InputError) as caught:
        load(repo, environment, **flags)
    assert caught.value.remedy and caught.value.exit_code == 2
    return caught.value


def test_nothing_said_gives_the_defaults(repo: Path) -> None:
    settings = load(repo)
    assert settings == Settings(sources=settings.sources)
    assert set(settings.sources) == set(SETTINGS) and set(settings.sources.values()) == {"default"}
    assert settings.model == "solder" and settings.agents_tokens == 400


def test_the_first_that_names_a_value_decides(repo: Path, person: Path) -> None:
    person.write_text('[resolve]\nmodel = "/models/mine.gguf"\ntest_command = "mine"\nseed = 4\n')
    (repo / "tinsmith.toml").write_text('[resolve]\nmodel = "solder"\ntest_command = "theirs"\n')
    steps = [
        (load(repo, {"TINSMITH_MODEL": "/models/env.gguf"}, model="a.gguf"), f"{os.getcwd()}/a.gguf", "--model"),
        (load(repo, {"TINSMITH_MODEL": "/models/env.gguf"}), "/models/env.gguf", "TINSMITH_MODEL"),
        (load(repo), "solder", f"{repo}/tinsmith.toml"),
    ]
    for settings, model, source in steps:
        assert (settings.model, settings.sources["model"]) == (model, source)
    assert (steps[2][0].test_command, steps[2][0].seed) == ("theirs", 4)
    (repo / "tinsmith.toml").unlink()
    assert (load(repo).model, load(repo).sources["model"]) == ("/models/mine.gguf", str(person))


def test_a_repository_only_narrows(repo: Path, person: Path) -> None:
    (repo / "tinsmith.toml").write_text("[resolve]\nmax_turns = 10\nmax_seconds = 9999\ntest_timeout = 600\n")
    settings = load(repo)
    assert (settings.max_turns, settings.max_seconds, settings.test_timeout) == (10, 3600, 300)
    assert settings.sources["max_turns"].endswith("repo/tinsmith.toml") and settings.sources["max_seconds"] == "default"
    person.write_text("[resolve]\nmax_turns = 5\nmax_seconds = 20000\n")
    settings = load(repo)
    assert (settings.max_turns, settings.max_seconds) == (5, 9999)
    # A flag is the person's last word.
    assert load(repo, max_turns="50").max_turns == 50


@pytest.mark.parametrize("name", ["python", "attempts", "seed", "state_dir", "pyhton", "hooks"])
def test_what_a_repository_may_not_set(repo: Path, person: Path, name: str) -> None:
    (repo / "tinsmith.toml").write_text(f'# ours\n[resolve]\ntest_command = "x"\n{name} = 3\n')
    error = error_of(repo)
    assert error.code == "bad_settings" and f"{repo}/tinsmith.toml, line 4: " in error.message and name in error.message
    assert "test_command" in error.remedy and "python," not in error.remedy


@pytest.mark.parametrize("model", ["/etc/passwd", "./m.gguf", "http://127.0.0.1:1/v1", "default", "Solder", "~/m"])
def test_a_repository_names_no_file_and_no_address(repo: Path, model: str) -> None:
    (repo / "tinsmith.toml").write_text(f'[resolve]\nmodel = "{model}"\n')
    error = error_of(repo)
    assert error.code == "bad_settings" and "line 2" in error.message and "solder" in error.remedy


def test_a_close_name_is_suggested(repo: Path, person: Path) -> None:
    (repo / "tinsmith.toml").write_text('[resolve]\ntest-command = "x"\n')
    assert "Did you mean test_command?" in error_of(repo).remedy
    (repo / "tinsmith.toml").unlink()
    person.write_text('[resolve]\n"pyhton" = "python3"\n')
    error = error_of(repo)
    assert "Did you mean python?" in error.remedy and f"{person}, line 2" in error.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[resolve]\nmax_turns = \n", "line 2, column 13"),
        ("[resolve]\nmax_turns = 3\nmax_turns = 4\n", "line 3, column"),
        ("[resolve", "at its end|line 1"),
        ("[other]\nx = 1\n", "line 1: there is no setting 'other' here"),
        ("resolve = 3\n", "line 1: there is no setting 'resolve' here"),
        ('model = "solder"\n', "line 1: there is no setting 'model' here"),
        ('[resolve]\nmax_turns = "10"\n', "line 2: max_turns is a whole number, not '10'"),
        ("[resolve]\nmax_turns = true\n", "line 2: max_turns is a whole number, not True"),
        ("[resolve]\nmax_turns = 1.5\n", "max_turns is a whole number, not 1.5"),
        ("[resolve]\nmax_turns = 0\n", "line 2: max_turns cannot be 0"),
        ("[resolve]\nmax_seconds = 99999999999\n", "max_seconds cannot be 99999999999"),
        ("[resolve]\ntest_command = ['pytest']\n", "test_command is a text, not"),
        ('[resolve]\ntest_command = "  "\n', "test_command is a text, not"),
        ('[resolve]\ntest_command = "a\\u0000b"\n', "test_command is a text, not"),
        ("[resolve]\n" + "# x\n" * 20_000, "longer than 65536 bytes"),
    ],
)
def test_mistakes_in_a_file_are_named(repo: Path, text: str, words: str) -> None:
    (repo / "tinsmith.toml").write_text(text)
    error = error_of(repo)
    assert error.code == "bad_settings" and str(repo / "tinsmith.toml") in error.message
    assert re.search(words, error.message), error.message


def test_files_that_are_none(repo: Path, person: Path, tmp_path: Path) -> None:
    file = repo / "tinsmith.toml"
    (tmp_path / "elsewhere.toml").write_text("[resolve]\nmax_turns = 1\n")
    file.symlink_to(tmp_path / "elsewhere.toml")
    assert "symlink" in error_of(repo).message
    file.unlink()
    os.mkfifo(file)
    assert "not a regular file" in error_of(repo).message
    file.unlink()
    file.mkdir()
    assert "Is a directory" in error_of(repo).message
    file.rmdir()
    file.write_bytes(b"# \xff\n")
    assert "UTF-8" in error_of(repo).message
    file.unlink()
    # The person's own file may be a symlink into their dotfiles.
    person.symlink_to(tmp_path / "elsewhere.toml")
    assert load(repo).max_turns == 1


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *[("max_turns", value) for value in ("0", "-1", "ten", "1.5", "", "10001", "9" * 30, "٣")],
        *[("attempts", "17"), ("seed", "-1"), ("seed", str(2**32 - 1)), ("max_seconds", "1e9"), ("max_tokens", "0")],
        *[("test_timeout", "0"), ("agents_tokens", "-5"), ("test_command", " "), ("model", "")],
    ],
)
def test_bad_flags(repo: Path, flag: str, value: str) -> None:
    error = error_of(repo, **{flag: value})
    assert error.code == "bad_settings" and f"--{flag.replace('_', '-')}: {flag}" in error.message


def test_the_interpreter_is_a_path_or_a_name(repo: Path, person: Path) -> None:
    assert load(repo, python="python3.12").python == Path("python3.12")
    assert load(repo, {"TINSMITH_PYTHON": "venv/bin/python"}).python == Path(os.getcwd(), "venv/bin/python")
    person.write_text('[resolve]\npython = "venv/bin/python"\n')
    assert "absolute" in error_of(repo).remedy
    person.write_text('[resolve]\npython = "/opt/venv/bin/python"\n')
    assert load(repo).python == Path("/opt/venv/bin/python")


def test_what_is_settled_of_engines(repo: Path, person: Path) -> None:
    assert engine_choice(load(repo)) == EngineChoice()
    environment = {
        "TINSMITH_LLAMA_SERVER": "none",
        "TINSMITH_LLAMA_SERVER_ARGUMENTS": "-ngl 99 --override-tensor 'exps=CPU'",
        "TINSMITH_VOCABULARY": "models/a.gguf",
        "TINSMITH_API_KEY": "sk-of-the-environment ",
    }
    arguments = ("-ngl", "99", "--override-tensor", "exps=CPU")
    choice = EngineChoice("none", arguments, "sk-of-the-environment", Path(os.getcwd(), "models/a.gguf"))
    assert engine_choice(load(repo, environment)) == choice
    person.write_text(
        '[resolve]\nllama_server = "/opt/llama-server"\nllama_server_arguments = "-ngl 9"\nvocabulary = "/models/a"\n'
        'api_key = "sk-of-mine"\ndialect = "mistral-v13"\n'
    )
    settings = load(repo)
    assert engine_choice(settings) == EngineChoice("/opt/llama-server", ("-ngl", "9"), "sk-of-mine", Path("/models/a"))
    assert settings.dialect == "mistral-v13" and load(repo, dialect="auto").dialect == "auto"
    assert engine_choice(load(repo, environment)) == choice
    # The same wherever it is asked: a run is resumed from anywhere.
    assert Settings.of_person({"XDG_CONFIG_HOME": str(person.parent.parent)}) == settings
    person.write_text('[resolve]\nvocabulary = "a"\n')
    assert "relative" in error_of(repo).message
    person.unlink()
    assert "TINSMITH_LLAMA_SERVER_ARGUMENTS" in error_of(repo, {"TINSMITH_LLAMA_SERVER_ARGUMENTS": "'"}).message


@pytest.mark.parametrize("name", ["llama_server", "llama_server_arguments", "vocabulary", "api_key", "dialect"])
def test_a_repository_settles_nothing_of_engines(repo: Path, name: str) -> None:
    (repo / "tinsmith.toml").write_text(f'[resolve]\n{name} = "sk-31415926535"\n')
    error = error_of(repo)
    assert f"a repository may not set {name}" in error.message and "31415926535" not in str(error) + error.remedy


def test_a_key_is_never_shown(repo: Path, person: Path) -> None:
    person.write_text('[resolve]\napi_key = "sk-31415926535"\n')
    settings = load(repo)
    assert settings.api_key == "sk-31415926535" and settings.sources["api_key"] == str(person)
    assert "31415926535" not in repr(settings) + repr(engine_choice(settings))
    for written in ('"sk 31415926535"', "31415926535", '["31415926535"]', '"sk-31415926535\\nX: y"', '"31415926535é"'):
        person.write_text(f"[resolve]\napi_key = {written}\n")
        error = error_of(repo)
        assert f"{person}, line 2: api_key is no key" in error.message
        assert "31415926535" not in error.message + error.remedy
    person.unlink()
    assert "31415926535" not in str(error_of(repo, {"TINSMITH_API_KEY": "31415926535\n31415926535"}))


def test_the_package(repo: Path, person: Path, tmp_path: Path) -> None:
    for path in ("a/tests", "a/src/deep", "b", "docs"):
        (repo / path).mkdir(parents=True)
    (repo / "b" / "pyproject.toml").write_text("")
    (repo / "link").symlink_to("b")
    (repo / "out").symlink_to(tmp_path)
    assert load(repo).package == ""
    assert load(repo, package="a/").package == "a" and load(repo, package="link").package == "b"
    assert load(repo, package=".").package == ""
    # A directory of the checkout means the project that it lies in.
    for place, package in (("a", "a"), ("a/src/deep", "a"), ("b", "b"), ("docs", ""), ("a/tests", "a")):
        settings = load(repo / place)
        assert (settings.package, settings.sources["package"]) == (package, "--repo" if package else "default")
    assert load(repo / "a", package="b").package == "b"
    (repo / "tinsmith.toml").write_text('[resolve]\npackage = "b"\n')
    assert load(repo).package == "b" and load(repo / "a").package == "a"
    for bad in ("c", "../repo", "/", str(repo / "a"), "out", ".git", "b/pyproject.toml", "a/../b"):
        assert error_of(repo, package=bad).code == "no_package", bad


def test_outside_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Settings.load(tmp_path, {}, {})
    assert caught.value.code == "not_a_repository"


def test_the_documented_table_is_the_real_one() -> None:
    rows = {
        cells[0].strip("`"): cells
        for line in DOCS.read_text().splitlines()
        if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 5
    }
    assert list(rows) == list(SETTINGS)
    defaults = Settings()
    flags = {option.name for option in resolve.params}
    for name, (_, flag, environment, repository, default) in rows.items():
        setting = SETTINGS[name]
        # AGENTS.md's budget and what computes are no matter of one run.
        assert flag == (f"`--{name.replace('_', '-')}`" if name in flags else "")
        assert environment.strip("`") == setting.environment
        assert repository.split(",")[0] == {"never": "no", "narrows": "lowers it", "chooses": "yes"}[setting.repository]
        if isinstance(value := getattr(defaults, name), int) and not isinstance(value, bool):
            assert default == f"{value:,}"
    assert "dialect" in flags and not flags & {"agents_tokens", "llama_server", "vocabulary", "api_key"}
