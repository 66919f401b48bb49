"""What other programs hold, in their own layouts, used where it is: nothing is copied, nothing of theirs is touched."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from tests.fake_hub import COMMIT, FakeHub, ollama_manifest

from tinsmith.errors import InputError, MachineError
from tinsmith.models import Store, find_model, foreign_models, import_model

SOLDER = find_model("solder").path
CONTENT = SOLDER.read_bytes()
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def names(environment: dict[str, str]) -> list[str]:
    return [model.source for model in foreign_models(environment)]


def everything(place: Path) -> dict[str, tuple[int, int, bytes]]:
    """Size, time and content of all below a directory."""
    found: dict[str, tuple[int, int, bytes]] = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_size if path.is_file() else 0, status.st_mtime_ns, content)
    return found


def ollama(place: Path, tag: str, content: bytes, *, registry: str = "registry.ollama.ai") -> Path:
    """What Ollama keeps of a model: `tag` is NAMESPACE/NAME/TAG."""
    manifest = place / "manifests" / registry / tag
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_bytes(ollama_manifest(content))
    blob = place / "blobs" / f"sha256-{hashlib.sha256(content).hexdigest()}"
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(content)
    return blob


def test_ollama(home: Path, store: Store) -> None:
    place = home / ".ollama" / "models"
    blob = ollama(place, "library/devstral-small-2/24b", CONTENT)
    ollama(place, "me/mine/latest", CONTENT + b"2")
    ollama(place, "owner/repo/Q4_K_M", CONTENT + b"3", registry="hf.co")
    # One under way, one of another format, a manifest that is none, and what is no manifest.
    other = ollama(place, "library/under/way", CONTENT + b"4")
    other.rename(other.with_name(other.name + "-partial"))
    ollama(place, "library/tensors/1", b"no GGUF at all")
    (place / "manifests" / "registry.ollama.ai" / "library" / "tensors" / "2").write_text("{}")
    (place / "manifests" / "registry.ollama.ai" / "stray").write_text("{")
    short = ollama(place, "library/short/1", CONTENT + b"5")
    short.write_bytes(CONTENT)
    environment = {"HOME": str(home)}
    found = foreign_models(environment)
    assert [(model.holder, model.name) for model in found] == [
        ("ollama", "devstral-small-2:24b"),
        ("ollama", "hf.co/owner/repo:Q4_K_M"),
        ("ollama", "me/mine:latest"),
    ]
    assert (found[0].path, found[0].bytes, found[0].sha256) == (blob, len(CONTENT), SUM)
    before = everything(home)
    stored = import_model(store, "devstral-small-2:24b", environment=environment)
    assert stored.in_place and stored.path == blob and stored.name == "devstral-small-2-24b"
    assert stored.source == "ollama:devstral-small-2:24b" and stored.files[0].sha256 == SUM
    # What it is, its header says: these are Solder's weights under another name.
    assert (stored.id, stored.quant) == ("solder", "")
    stored.check()
    assert store.verify(stored)[0].problem == ""
    store.remove(stored.name)
    assert everything(home) == before
    assert names({"HOME": "/nonexistent", "OLLAMA_MODELS": str(place)}) == [model.source for model in found]


def test_what_a_header_says(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "anything.gguf"
    writer = gguf.GGUFWriter(path, "qwen3moe")
    writer.add_name("Qwen3-Coder-30B-A3B-Instruct")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_tensor("output.weight", np.zeros((32, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    stored = import_model(store, str(path))
    assert (stored.name, stored.id, stored.quant) == ("anything", "qwen3-coder-30b-a3b", "Q4_K_M")
    assert store.find("qwen3-coder-30b-a3b") == stored


def test_lm_studio(home: Path, store: Store) -> None:
    for top in (".lmstudio/models", ".cache/lm-studio/models"):
        place = home / top / "lmstudio-community" / f"M-{top[1:3]}-GGUF"
        place.mkdir(parents=True)
        (place / "M-Q4_K_M.gguf").write_bytes(CONTENT)
        (place / "mmproj-M-F16.gguf").write_bytes(CONTENT)
        (place / "downloading_M-Q8_0.gguf.part").write_bytes(CONTENT[:1000])
        (place / "text.gguf").write_text("not a model")
        (place / "README.md").write_text("#")
    split = home / ".lmstudio/models/me/big"
    split.mkdir(parents=True)
    for number in (1, 2):
        (split / f"big-0000{number}-of-00002.gguf").write_bytes(CONTENT)
        (split / f"cut-0000{number}-of-00003.gguf").write_bytes(CONTENT)
    environment = {"HOME": str(home)}
    assert names(environment) == [
        "lm-studio:lmstudio-community/M-ca-GGUF/M-Q4_K_M.gguf",
        "lm-studio:lmstudio-community/M-lm-GGUF/M-Q4_K_M.gguf",
        "lm-studio:me/big/big.gguf",
    ]
    before = everything(home)
    stored = import_model(store, "lmstudio-community/M-lm-GGUF/M-Q4_K_M.gguf", environment=environment)
    assert stored.name == "m-q4_k_m" and stored.path.parent.parent.name == "lmstudio-community"
    big = import_model(store, "big", environment=environment)
    assert [file.path.name for file in big.files] == [f"big-0000{number}-of-00002.gguf" for number in (1, 2)]
    with pytest.raises(InputError) as caught:
        import_model(store, "m-q4_k_m", environment=environment)
    assert caught.value.code == "ambiguous_foreign_model"
    assert everything(home) == before
    # Moved elsewhere, as its own file says.
    (home / "elsewhere" / "models" / "a" / "b").mkdir(parents=True)
    (home / "elsewhere" / "models" / "a" / "b" / "c.gguf").write_bytes(CONTENT)
    (home / ".lmstudio-home-pointer").write_text(f"{home}/elsewhere\n")
    assert "lm-studio:a/b/c.gguf" in names(environment)


def test_llama_cpp(home: Path, store: Store) -> None:
    place = home / ".cache" / "llama.cpp"
    place.mkdir(parents=True)
    (place / "ggml-org_M-GGUF_M-Q4_K_M.gguf").write_bytes(CONTENT)
    (place / "ggml-org_M-GGUF_M-Q4_K_M.gguf.etag").write_text('"x"')
    (place / "ggml-org_M-GGUF_M-Q8_0.gguf.downloadInProgress").write_bytes(CONTENT[:100])
    (place / "manifest=ggml-org=M-GGUF=latest.json").write_text("{}")
    newer = place / "models--ggml-org--N-GGUF"
    (newer / "blobs").mkdir(parents=True)
    (newer / "snapshots" / COMMIT).mkdir(parents=True)
    (newer / "blobs" / SUM).write_bytes(CONTENT)
    (newer / "snapshots" / COMMIT / "N.gguf").symlink_to(f"../../blobs/{SUM}")
    environment = {"HOME": str(home)}
    assert names(environment) == ["llama.cpp:ggml-org/N-GGUF/N.gguf", "llama.cpp:ggml-org_M-GGUF_M-Q4_K_M.gguf"]
    stored = import_model(store, "ggml-org_M-GGUF_M-Q4_K_M.gguf", "m", environment)
    assert stored.name == "m" and stored.path.parent == place
    assert names({"HOME": "/nonexistent", "LLAMA_CACHE": str(place)}) == names(environment)
    assert names({"HOME": "/nonexistent", "XDG_CACHE_HOME": str(home / ".cache")}) == names(environment)


_DOWNLOAD = """
import sys
from huggingface_hub import hf_hub_download
for name in sys.argv[1:]:
    hf_hub_download("owner/repo", name)
"""


def test_the_hugging_face_cache(home: Path, store: Store) -> None:
    """The cache is written by the hub's own library."""
    with FakeHub() as hub:
        files = {"m-Q4_K_M.gguf": CONTENT, "sub/n-00001-of-00002.gguf": CONTENT + b"1", "config.json": b"{}"}
        files["sub/n-00002-of-00002.gguf"] = b"GGUF" + CONTENT
        hub.repositories["owner/repo"] = files
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment = {**kept, "HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        environment |= {"NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
        environment.pop("XDG_CACHE_HOME", None)
        done = subprocess.run(
            [sys.executable, "-c", _DOWNLOAD, *files], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    place = home / ".cache" / "huggingface" / "hub"
    (place / "models--owner--repo" / "blobs" / "a.incomplete").write_bytes(CONTENT[:100])
    dangling = place / "models--owner--gone" / "snapshots" / COMMIT
    dangling.mkdir(parents=True)
    (dangling / "m.gguf").symlink_to("../../blobs/none")
    environment = {"HOME": str(home)}
    found = {model.name: model for model in foreign_models(environment)}
    assert set(found) == {"owner/repo/m-Q4_K_M.gguf", "owner/repo/sub/n.gguf"}
    assert found["owner/repo/m-Q4_K_M.gguf"].sha256 == SUM
    before = everything(home)
    stored = import_model(store, "owner/repo/m-Q4_K_M.gguf", environment=environment)
    assert stored.path.name == "m-Q4_K_M.gguf" and stored.path.resolve().name != stored.path.name
    split = import_model(store, "owner/repo/sub/n.gguf", environment=environment)
    # By the names of the links: as blobs the parts would not find each other.
    assert [file.path.name for file in split.files] == [f"n-0000{number}-of-00002.gguf" for number in (1, 2)]
    assert store.verify(stored)[0].problem == "" and everything(home) == before
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        named = place.parent if name == "HF_HOME" else place
        assert len(names({"HOME": "/nonexistent", name: str(named)})) == 2
    assert len(names({"HOME": "/nonexistent", "XDG_CACHE_HOME": str(home / ".cache")})) == 2
    # Its holder deletes it: said where it is asked for, and the store goes on.
    subprocess.run(["rm", "-r", str(place / "models--owner--repo")], check=True)
    with pytest.raises(MachineError) as caught:
        store.get(stored.name).check()
    assert caught.value.code == "model_file_gone"
    store.remove(stored.name)


def test_directories_that_are_strange(home: Path) -> None:
    place = home / ".lmstudio" / "models"
    (place / "a" / "b").mkdir(parents=True)
    (place / "a" / "b" / "m.gguf").write_bytes(CONTENT)
    (place / "a" / "up").symlink_to("..")
    (place / "self").symlink_to("self")
    (place / "self.gguf").symlink_to("self.gguf")
    (place / "same.gguf").symlink_to("a/b/m.gguf")
    (place / "dangling.gguf").symlink_to("nowhere")
    (place / "process").symlink_to("/proc/self")
    (place / "directory.gguf").mkdir()
    os.mkfifo(place / "fifo.gguf")
    closed = place / "closed"
    closed.mkdir()
    (closed / "m.gguf").write_bytes(CONTENT)
    (place / "unreadable.gguf").write_bytes(CONTENT)
    if os.geteuid() != 0:
        closed.chmod(0)
        (place / "unreadable.gguf").chmod(0)
    (home / ".ollama").write_text("a file where a directory should be")
    try:
        found = foreign_models({"HOME": str(home)})
    finally:
        closed.chmod(0o700)
    # The file that is called by two names is one model.
    inodes = [model.path.stat().st_ino for model in found]
    assert len(set(inodes)) == len(inodes)
    expected = {"a/b/m.gguf", "same.gguf"}
    assert {model.name for model in found} & expected
    assert not {model.name for model in found} & {"dangling.gguf", "fifo.gguf", "directory.gguf", "self.gguf"}
    if os.geteuid() != 0:
        assert len(found) == 1


def test_the_command(home: Path, store: Store, tmp_path: Path) -> None:
    ollama(home / ".ollama" / "models", "library/devstral-small-2/24b", CONTENT)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "OLLAMA", "LLAMA", "XDG"))}
    environment = {**kept, "HOME": str(home), "TINSMITH_STATE_DIR": str(store.root.parent)}

    def tinsmith(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "tinsmith.cli", "models", "import", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout

    code, said = tinsmith("--json")
    assert code == 0 and [row["name"] for row in json.loads(said)["rows"]] == ["devstral-small-2:24b"]
    assert "3.76 MB  devstral-small-2:24b" in tinsmith()[1]
    code, said = tinsmith("devstral-small-2:24b", "--name", "d", "--json")
    assert code == 0 and json.loads(said)["in_place"] and [model.name for model in store.models()] == ["d"]
    file = tmp_path / "my.gguf"
    file.write_bytes(CONTENT)
    code, said = tinsmith(str(file))
    assert code == 0 and str(file) in said and "--model my" in said
