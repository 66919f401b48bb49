"""The store: names, files by their content, many processes at once, and the commands on it."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from proofs.pulls import kill_and_resume
from tests.fake_hub import COMMIT, FakeHub, Fault

from tinsmith.cli.models import models
from tinsmith.errors import InputError, MachineError, TinsmithError
from tinsmith.models import Hub, Sources, Store, StoredModel, find_model, import_model, locate, pull
from tinsmith.models.store import RESERVE
from tinsmith.models.store_files import default_name, disk_errors, file_name, key_of, part_of
from tinsmith.models.store_partial import Partial

CONTENT = b"GGUF" + random.Random(8).randbytes(50_000)
SUM = hashlib.sha256(CONTENT).hexdigest()
SOLDER = find_model("solder").path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "My Model-Q4_K_M.gguf"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def error_code(work: object, *arguments: object, **named: object) -> str:
    assert callable(work)
    with pytest.raises(TinsmithError) as caught:
        work(*arguments, **named)
    assert caught.value.message and caught.value.remedy
    return caught.value.code


def files_below(store: Store) -> set[str]:
    return {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()} - {"lock"}


def test_a_copy(store: Store, file: Path) -> None:
    stored = store.add_file(file, id="solder", quant="Q4_K_M")
    assert (stored.name, stored.bytes, stored.in_place) == ("my-model-q4_k_m", len(CONTENT), False)
    assert stored.path == store.root / "files" / SUM / "My-Model-Q4_K_M.gguf"
    assert (stored.path.read_bytes() == CONTENT and not os.access(stored.path, os.W_OK)) or os.geteuid() == 0
    assert store.models() == (stored,) and store.find("My-Model-Q4_K_M") == stored == store.find("solder")
    assert store.find("other") is None and store.get(stored.name) == stored
    assert files_below(store) == {"names/my-model-q4_k_m.json", f"files/{SUM}/My-Model-Q4_K_M.gguf"}
    file.unlink()
    stored.check()
    assert store.verify(stored)[0].problem == ""
    assert json.loads(json.dumps(stored.row()))["files"][0]["sha256"] == SUM


def test_the_same_content_is_kept_once(store: Store, file: Path) -> None:
    one, two = store.add_file(file), store.add_file(file, "two")
    assert one.path == two.path and len(list((store.root / "files").iterdir())) == 1
    assert store.remove("two").name == "two" and one.path.is_file()
    store.remove(one.name)
    assert files_below(store) == set() and not list((store.root / "files").iterdir())


def test_names(store: Store, file: Path) -> None:
    store.add_file(file, "mine")
    for name in ("Mine", "a b", "../x", ".x", "-x", "x" * 129, "a/b"):
        assert error_code(store.add_file, file, name) == "bad_model_name", name
    other = file.with_name("other.gguf")
    other.write_bytes(CONTENT + b"!")
    assert error_code(store.add_file, other, "mine") == "name_taken"
    assert error_code(store.import_in_place, other, "mine") == "name_taken"
    assert error_code(store.get, "none") == error_code(store.remove, "none") == "unknown_model"
    assert [model.name for model in store.models()] == ["mine"]


def test_names_of_files() -> None:
    table = {
        "a/b/C-Q4.gguf": "C-Q4.gguf",
        "..\\x.GGUF": "x.GGUF",
        "../../.ssh/id": "model.gguf",
        ".gguf": "model.gguf",
        "-rf.gguf": "rf.gguf",
        "ü o;$(x).gguf": "o-x-.gguf",
        "": "model.gguf",
        "\n.gguf": "model.gguf",
    }
    for name, plain in table.items():
        assert file_name(name) == plain, name
    assert default_name("A/B-Q4_K_M-00001-of-00003.gguf") == "b-q4_k_m" and default_name("x.GGUF") == "x"
    assert part_of("a-00002-of-00003.gguf") == ("a", 2, 3) and part_of("a-2-of-3.gguf") is None
    assert key_of(["a"]) == "a" and key_of(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()


def test_a_split_model(store: Store, tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for number, part in enumerate(parts):
        part.write_bytes(CONTENT + bytes([number]))
    for path in (parts[0], parts[2]):
        stored = store.add_file(path, f"of-{path.name[:7]}")
        assert [file.path.name for file in stored.files] == [part.name for part in parts]
        assert {file.path.parent for file in stored.files} == {stored.path.parent}
    here = store.import_in_place(parts[1])
    assert here.name == "m" and here.path == parts[0] and len(here.files) == 3
    parts[1].unlink()
    assert error_code(here.check) == "model_file_gone"
    assert error_code(store.add_file, parts[0], "x") == error_code(store.import_in_place, parts[0], "x")


def test_in_place(store: Store, file: Path) -> None:
    stored = store.import_in_place(file)
    assert stored.in_place and stored.path == file and stored.files[0].sha256 == ""
    assert store.import_in_place(file) == stored
    stored.check()
    # Verified, its sum is known; a new time of the same content is then no change.
    assert store.verify(stored)[0].problem == ""
    stored = store.get(stored.name)
    assert stored.files[0].sha256 == SUM
    os.utime(file, (1, 1))
    assert error_code(stored.check) == "model_file_changed"
    assert store.verify(stored)[0].problem == ""
    stored = store.get(stored.name)
    stored.check()
    file.write_bytes(CONTENT[:-1] + b"?")
    assert error_code(stored.check) == "model_file_changed" and "sha256" in store.verify(stored)[0].problem
    file.write_bytes(b"GGUF")
    assert "bytes" in store.verify(stored)[0].problem
    file.unlink()
    assert error_code(stored.check) == "model_file_gone" and store.verify(stored)[0].problem
    assert store.find(stored.name) == stored
    file.write_bytes(CONTENT)
    store.remove(stored.name)
    assert file.read_bytes() == CONTENT and not store.models()


def test_a_changed_file_whose_sum_was_never_known(store: Store, file: Path) -> None:
    stored = store.import_in_place(file)
    file.write_bytes(CONTENT[:-1] + b"?")
    os.utime(file, (1, 1))
    assert "was not known" in store.verify(stored)[0].problem


@pytest.mark.parametrize("kind", ["missing", "directory", "text", "fifo", "empty"])
def test_what_is_no_model(store: Store, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.gguf"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes(b"text, not a model" if kind == "text" else b"")
    for work in (store.add_file, store.import_in_place):
        assert error_code(work, path) == "model_unreadable"
    assert not store.models()


def test_a_damaged_file_is_named(store: Store, file: Path) -> None:
    stored = store.add_file(file)
    stored.path.chmod(0o644)
    with stored.path.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"x")
    read: list[int] = []
    checks = store.verify(stored, read.append)
    assert checks[0].path == stored.path and "sha256" in checks[0].problem and sum(read) == len(CONTENT)
    stored.check()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "key": "x", "files": []}', "\x00"])
def test_a_damaged_record(store: Store, file: Path, text: str) -> None:
    stored = store.add_file(file)
    record = store.root / "names" / f"{stored.name}.json"
    record.write_text(text)
    assert error_code(store.get, stored.name) == error_code(store.models) == "record_unreadable"
    # Nothing is collected while it is not known what is used.
    assert error_code(store.collect) == "record_unreadable" and stored.path.is_file()
    record.unlink()
    assert store.collect().paths == (stored.path.parent,) and not stored.path.exists()


def test_what_nobody_uses_is_collected(store: Store, file: Path) -> None:
    kept = store.add_file(file)
    orphan = store.root / "files" / ("0" * 64)
    orphan.mkdir()
    (orphan / "m.gguf").write_bytes(bytes(1000))
    (store.root / "names" / ".m.json.77").write_text("{")
    for key in ("old", "young", "held"):
        with Partial(store.partial, key) as partial:
            (partial.files / "m.gguf").write_bytes(bytes(500))
    long_ago = time.time() - 30 * 86_400
    for key in ("old", "held"):
        for path in (store.partial / key, *(store.partial / key).rglob("*")):
            os.utime(path, (long_ago, long_ago))
    with Partial(store.partial, "held"):
        (store.partial / ".gone-1-x").mkdir()
        os.utime(store.partial / "held", (long_ago, long_ago))
        dry = store.collect(dry_run=True)
        assert orphan.is_dir() and len(dry.paths) == 4 and dry.bytes >= 1500
        assert store.collect() == dry
        assert sorted(path.name for path in store.partial.iterdir()) == ["held", "young"]
    assert files_below(store) >= {f"files/{SUM}/{kept.path.name}", f"names/{kept.name}.json"} and not orphan.exists()
    assert {path.name for path in store.collect(0.0).paths} == {"held", "young"}
    assert not list(store.partial.iterdir()) and store.verify(kept)[0].problem == ""


def test_space_is_checked(store: Store, file: Path) -> None:
    store.check_space(0)
    store.check_space(1)
    assert error_code(store.check_space, 1 << 60) == "disk_too_small" and RESERVE == 1 << 30


def test_what_the_disk_refuses(tmp_path: Path) -> None:
    codes = {errno.ENOSPC: "disk_full", errno.EDQUOT: "disk_full", errno.EFBIG: "file_too_large"}
    for number, code in {**codes, errno.EACCES: "store_unusable", errno.EROFS: "store_unusable"}.items():
        with pytest.raises(MachineError) as caught, disk_errors(tmp_path):
            raise OSError(number, os.strerror(number))
        assert caught.value.code == code
    (tmp_path / "state").write_text("a file")
    assert error_code(Store(tmp_path / "state").add_file, SOLDER) == "store_unusable"
    assert Store(tmp_path / "state").models() == () and Store(tmp_path / "state").find("x") is None


def _add(state: Path, file: Path, name: str) -> None:
    store = Store(state)
    store.add_file(file, name)
    store.collect(0.0)
    store.get(name).check()


def test_many_processes_at_once(store: Store, file: Path) -> None:
    context = multiprocessing.get_context("fork")
    names = [f"m{number}" for number in range(6)]
    state = store.root.parent
    processes = [context.Process(target=_add, args=(state, file, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(names)
    assert [model.name for model in store.models()] == names
    assert files_below(store) == {f"names/{name}.json" for name in names} | {f"files/{SUM}/My-Model-Q4_K_M.gguf"}
    assert not list(store.partial.iterdir())


def test_one_download_for_two_processes(store: Store) -> None:
    """The second waits for the first and finds the model whole."""
    with FakeHub() as hub:
        hub.repositories["owner/repo"] = {"m.gguf": CONTENT}
        hub.cdn.pause = 0.1
        command = [sys.executable, "-m", "tinsmith.cli", "models", "pull", "hf:owner/repo", "--json", "--name"]
        environment = _environment(hub, store)
        both = [
            subprocess.Popen(
                [*command, name], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for name in ("one", "two")
        ]
        said = [process.communicate() for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert len(hub.cdn.seen) == 1
    assert [model.name for model in store.models()] == ["one", "two"] and not list(store.partial.iterdir())


def _environment(hub: FakeHub, store: Store, **more: str) -> dict[str, str]:
    home = store.root.parent.parent / "home"
    home.mkdir(exist_ok=True)
    addresses = {"TINSMITH_HUB": hub.url, "TINSMITH_OLLAMA_REGISTRY": hub.url, "NO_PROXY": "127.0.0.1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TINSMITH_"))}
    return {**kept, **addresses, "HOME": str(home), "TINSMITH_STATE_DIR": str(store.root.parent), **more}


def tinsmith(*arguments: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    done = CliRunner().invoke(models, [*arguments, "--json"], env={**dict.fromkeys(os.environ), **environment})
    return done.exit_code, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_the_commands(store: Store, tmp_path: Path) -> None:
    with FakeHub() as hub:
        hub.token = "hf_31415926535"
        hub.repositories["owner/repo"] = {"solder-Q8_0.gguf": SOLDER.read_bytes()}
        environment = _environment(hub, store, HF_TOKEN=hub.token)
        code, answer, said = tinsmith("pull", "hf:owner/repo", "--name", "mine", **environment)
        assert code == 0 and answer["name"] == "mine" and answer["bytes"] == SOLDER.stat().st_size
        assert answer["source"] == f"hf:owner/repo@{COMMIT}:solder-Q8_0.gguf" and "3.76 MB" in said
        assert hub.token not in said + json.dumps(answer)
        # Nothing is written outside the state directory.
        assert not list((tmp_path / "home").rglob("*"))
        asked = len(hub.cdn.seen)
        assert tinsmith("pull", "hf:owner/repo", "--name", "mine", **environment)[0] == 0 and len(hub.cdn.seen) == asked
        code, answer, _ = tinsmith("path", "mine", **environment)
        assert code == 0 and Path(str(answer["path"])).read_bytes() == SOLDER.read_bytes()
        assert tinsmith("verify", **environment)[:2] == (
            0,
            {"rows": [{"name": "mine", "path": answer["path"], "ok": True, "problem": ""}]},
        )
        Path(str(answer["path"])).chmod(0o644)
        Path(str(answer["path"])).write_bytes(SOLDER.read_bytes()[:-1] + b"?")
        assert tinsmith("verify", "mine", **environment)[0] == 3
        code, answer, _ = tinsmith("remove", "mine", **environment)
        assert (code, answer["file_stays"]) == (0, False)
        for arguments, exit_code, name in (
            (("remove", "mine"), 2, "unknown_model"),
            (("path", "mine"), 3, "model_missing"),
            (("pull", "hf:owner/repo:Q2_K"), 2, "no_such_quant"),
            (("import", "nothing"), 2, "unknown_foreign_model"),
        ):
            code, answer, _ = tinsmith(*arguments, **environment)
            assert (code, answer["error"]["code"]) == (exit_code, name), answer
        code, answer, _ = tinsmith("pull", "hf:owner/repo", **{**environment, "HF_HUB_OFFLINE": "1"})
        assert (code, answer["error"]["code"]) == (3, "offline")
        assert tinsmith("gc", "--partial", **environment)[1] == {"removed": [], "bytes": 0}


def test_ctrl_c_keeps_what_came(store: Store) -> None:
    import signal

    with FakeHub() as hub:
        hub.repositories["owner/repo"] = {"m.gguf": CONTENT + bytes(500_000)}
        hub.cdn.pause = 0.1
        command = [sys.executable, "-m", "tinsmith.cli", "models", "pull", "hf:owner/repo"]
        environment = _environment(hub, store)
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        parts = store.partial.glob("*/files/*")
        until = time.monotonic() + 30
        while not any(path.stat().st_size for path in parts) and time.monotonic() < until:
            time.sleep(0.02)
            parts = store.partial.glob("*/files/*")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        assert process.returncode == 130 and "the same command goes on" in said
        assert not store.models()
        hub.cdn.pause = 0.0
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "are here already" in done.stderr and "range" in hub.cdn.seen[-1].headers
        assert store.verify(store.models()[0])[0].problem == ""


def test_a_kill_between_the_rename_and_the_record(store: Store, tmp_path: Path) -> None:
    with FakeHub() as hub:
        hub.repositories["owner/repo"] = {"m.gguf": CONTENT}
        wanted = locate("hf:owner/repo", Sources(Hub(hub.url)))
        stored = pull(store, wanted)
        (store.root / "names" / "m.json").unlink()
        asked = len(hub.cdn.seen)
        again = pull(store, wanted)
        assert (again.path, again.files) == (stored.path, stored.files) and len(hub.cdn.seen) == asked
        # A directory that is not what its name says is nothing.
        (store.root / "names" / "m.json").unlink()
        stored.path.chmod(0o644)
        stored.path.write_bytes(b"GGUF")
        assert pull(store, wanted).path.read_bytes() == CONTENT and len(hub.cdn.seen) == asked + 1


def test_what_a_kill_left_of_a_record_is_gone_with_the_next(store: Store, file: Path) -> None:
    names = store.root / "names"
    names.mkdir(parents=True)
    (names / ".m.json.new").write_text("half of a rec")
    assert store.add_file(file, "m").name == "m"
    assert [path.name for path in names.iterdir()] == ["m.json"] and store.find("m") is not None


def test_a_kill_between_them_of_a_file_whose_sum_nobody_says(store: Store) -> None:
    with FakeHub() as hub:
        hub.cdn.blobs = {"/a.gguf": CONTENT, "/b.gguf": CONTENT}
        pull(store, locate(f"{hub.cdn.url}/a.gguf", Sources()))
        (store.root / "names" / "a.json").unlink()
        stored = pull(store, locate(f"{hub.cdn.url}/b.gguf", Sources()))
        stored.check()
        assert stored.path.read_bytes() == CONTENT
        asked = len(hub.cdn.seen)
        assert pull(store, locate(f"{hub.cdn.url}/b.gguf", Sources())) == stored and len(hub.cdn.seen) == asked
        stored.path.unlink()
        assert error_code(pull, store, locate(f"{hub.cdn.url}/b.gguf", Sources())) == "model_file_gone"


def test_a_taken_name_is_said_before_the_download(store: Store, file: Path) -> None:
    store.add_file(file, "m")
    with FakeHub() as hub:
        hub.repositories["owner/repo"] = {"m.gguf": CONTENT + b"2"}
        wanted = locate("hf:owner/repo", Sources(Hub(hub.url)))
        assert error_code(pull, store, wanted) == "name_taken" and not hub.cdn.seen
        assert error_code(pull, store, wanted, name="A B") == "bad_model_name"
        assert pull(store, wanted, name="m2").name == "m2"
        # The same content under its own name is no other model.
        hub.repositories["owner/repo"] = {"m.gguf": CONTENT}
        assert pull(store, locate("hf:owner/repo", Sources(Hub(hub.url)))).name == "m"


def test_a_store_survives_a_bad_download(store: Store, file: Path) -> None:
    kept = store.add_file(file)
    before = files_below(store)
    with FakeHub() as hub:
        hub.repositories["owner/repo"] = {"n.gguf": CONTENT + b"2"}
        wanted = locate("hf:owner/repo", Sources(Hub(hub.url)))
        for fault in (Fault(serves=b"GGUF" + bytes(50_001)), Fault(status=404), Fault(status=403)):
            hub.cdn.faults.append(fault)
            error_code(pull, store, wanted)
            assert store.models() == (kept,) and store.verify(kept)[0].problem == ""
            assert {name for name in files_below(store) if not name.startswith("partial/")} == before
        assert pull(store, wanted).path.read_bytes() == CONTENT + b"2"


def test_a_stored_model_is_run_by_its_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINSMITH_STATE_DIR", str(store.root.parent))
    assert error_code(find_model, "mine") == "model_missing"
    stored: StoredModel = import_model(store, str(SOLDER), "mine")
    assert find_model("mine").path == stored.path == SOLDER and find_model("mine").card.id == "solder"
    copied = store.add_file(SOLDER, "copied")
    assert find_model("copied").path == copied.path
    copied.path.unlink()
    assert error_code(find_model, "copied") == "model_file_gone"
    assert error_code(find_model, "qwen3-coder-30b-a3b") == "model_missing"
    with pytest.raises(InputError):
        store.get("none")


def test_killed_pulls_are_resumed(tmp_path: Path) -> None:
    """`make prove-pulls` does the same 100 times."""
    result = kill_and_resume(tmp_path, 5, seed=8, size=300_000)
    assert not result.wrong and sum(result.moments.values()) == 6
