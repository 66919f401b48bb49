"""Downloads against servers on loopback: everything that goes wrong ends in the right bytes or in a clear error."""

import hashlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.fake_hub import COMMIT, FakeHub, FakeOllama, FakeServer, Fault, in_seconds

from tinsmith.errors import InputError, MachineError, TinsmithError
from tinsmith.models import Hub, Sources, Store, Wanted, locate, pull
from tinsmith.models.download import Progress, RemoteFile, fetch
from tinsmith.models.download_answer import opened
from tinsmith.models.download_retry import Patience, seconds_asked
from tinsmith.workspace import Sandbox

CONTENT = b"GGUF" + random.Random(8).randbytes(300_000)
SUM = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=4, first=0.01, longest=0.02, longest_asked=2.0, stall=2.0)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "TINSMITH_HUB", "TINSMITH_HUB_TOKEN", "TINSMITH_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        server.blobs["/m.gguf"] = CONTENT
        yield server


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        hub.repositories["owner/repo"] = {"m-Q4_K_M.gguf": CONTENT, "README.md": b"#"}
        yield hub


class Got:
    """One call of `fetch` after another into one place."""

    def __init__(self, place: Path, remote: RemoteFile) -> None:
        self.part, self.notes, self.remote = place / "m.part", place / "m.json", remote
        self.said: list[str] = []

    def fetch(self) -> str:
        self.said.clear()
        return fetch(self.remote, self.part, self.notes, patience=QUICK, say=self.said.append)

    def error(self) -> TinsmithError:
        with pytest.raises(TinsmithError) as caught:
            self.fetch()
        return caught.value


@pytest.fixture
def known(server: FakeServer, tmp_path: Path) -> Got:
    """A file whose size and sum are known."""
    return Got(tmp_path, RemoteFile(f"{server.url}/m.gguf", "m.gguf", len(CONTENT), SUM))


@pytest.fixture
def unknown(server: FakeServer, tmp_path: Path) -> Got:
    """A plain URL."""
    return Got(tmp_path, RemoteFile(f"{server.url}/m.gguf", "m.gguf"))


@pytest.fixture(params=["known", "unknown"])
def either(request: pytest.FixtureRequest) -> Got:
    return request.getfixturevalue(request.param)


def test_a_file(server: FakeServer, either: Got) -> None:
    assert either.fetch() == SUM and either.part.read_bytes() == CONTENT and not either.said
    assert [seen.path for seen in server.seen] == ["/m.gguf"]
    headers = server.seen[0].headers
    assert headers["user-agent"].startswith("tinsmith/") and "authorization" not in headers
    # What is whole is not asked for again.
    assert either.fetch() == SUM and len(server.seen) == 1


def test_a_connection_that_breaks(server: FakeServer, either: Got) -> None:
    server.faults += [Fault(drop=100_000), Fault(drop=50_000), Fault(drop=0)]
    assert either.fetch() == SUM and either.part.read_bytes() == CONTENT
    asked = [seen.headers.get("range") for seen in server.seen]
    assert asked[0] is None and len(asked) == 4
    assert 0 < int(str(asked[1])[6:-1]) <= 100_000 and any("going on at" in line for line in either.said)


def test_a_server_that_says_nothing_of_versions(server: FakeServer, unknown: Got) -> None:
    """Then nothing vouches for a part: it is begun anew rather than put together from two versions."""
    for etags in ("none", "weak"):
        server.etags = etags
        server.faults.append(Fault(drop=100_000))
        assert unknown.fetch() == SUM and any("starting over" in line for line in unknown.said)
        assert not any("range" in seen.headers for seen in server.seen)
        unknown.part.unlink()


def test_resumed_in_another_process(server: FakeServer, either: Got) -> None:
    server.faults += [Fault(drop=100_000), *[Fault(drop=0)] * 9]
    assert either.error().code == "network_unreachable"
    kept = either.part.stat().st_size
    assert 0 < kept <= 100_000
    server.faults.clear()
    assert either.fetch() == SUM and either.part.read_bytes() == CONTENT
    assert server.seen[-1].headers["range"] == f"bytes={kept}-" and "are here already" in either.said[0]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(ignores_range=True), "from the beginning"),
        (Fault(moves_range=True), "another range"),
        (Fault(status=416, headers={"Content-Range": "bytes */5"}), "shorter than what is here"),
    ],
)
def test_a_server_that_does_not_resume(server: FakeServer, either: Got, fault: Fault, words: str) -> None:
    server.faults += [Fault(drop=100_000), fault]
    assert either.fetch() == SUM and either.part.read_bytes() == CONTENT
    assert any(words in line and "starting over" in line for line in either.said)


def test_a_range_that_is_cut_short(server: FakeServer, either: Got) -> None:
    server.faults += [Fault(drop=100_000), Fault(shortens=5_000), Fault(shortens=7_000)]
    assert either.fetch() == SUM and either.part.read_bytes() == CONTENT
    assert len(server.seen) == 4


def test_a_file_that_changed_before_it_was_resumed(server: FakeServer, unknown: Got) -> None:
    for change in (b"GGUF" + bytes(400_000), b"GGUF" + bytes(len(CONTENT) - 4)):
        server.blobs["/m.gguf"] = CONTENT
        server.faults.append(Fault(drop=100_000, status=0))
        server.faults += [Fault(drop=0)] * 9
        unknown.error()
        server.faults.clear()
        server.blobs["/m.gguf"] = change
        assert unknown.fetch() == hashlib.sha256(change).hexdigest() and unknown.part.read_bytes() == change
        assert any("changed" in line and "starting over" in line for line in unknown.said)
        unknown.part.unlink()


def test_a_changed_file_from_a_server_that_ignores_if_range(server: FakeServer, unknown: Got) -> None:
    other = b"GGUF" + bytes(len(CONTENT) - 4)
    server.faults += [Fault(drop=100_000), Fault(serves=other, ignores_condition=True)]
    server.faults.append(Fault(serves=other))
    assert unknown.fetch() == hashlib.sha256(other).hexdigest()
    assert any("has changed" in line and "starting over" in line for line in unknown.said)
    longer = b"GGUF" + bytes(len(CONTENT))
    unknown.part.unlink()
    server.etags = "none"
    assert unknown.fetch() == SUM
    unknown.part.write_bytes(CONTENT[:1000])
    unknown.notes.write_text(f'{{"etag": "\\"x\\"", "total": {len(CONTENT)}, "sha256": ""}}')
    server.faults += [Fault(serves=longer, ignores_condition=True), Fault(serves=longer)]
    assert unknown.fetch() == hashlib.sha256(longer).hexdigest()
    assert any("another size" in line for line in unknown.said)


def test_a_part_that_is_not_the_beginning(server: FakeServer, known: Got) -> None:
    """Of another version, or lost by the disk: the sum finds it, and the file is fetched anew."""
    known.part.write_bytes(b"GGUF" + bytes(50_000))
    assert known.fetch() == SUM and known.part.read_bytes() == CONTENT
    assert any("not the beginning" in line for line in known.said) and len(server.seen) == 2
    known.part.write_bytes(CONTENT + b"more")
    assert known.fetch() == SUM and known.part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "fault",
    [
        Fault(serves=b"GGUF" + bytes(300_000)),
        Fault(serves=CONTENT + b"more"),
        Fault(serves=CONTENT[:-1]),
        Fault(extra=b"more", without_length=True),
    ],
)
def test_a_wrong_sum(server: FakeServer, known: Got, fault: Fault) -> None:
    server.faults.append(fault)
    error = known.error()
    assert (error.code, error.exit_code) == ("checksum_mismatch", 3)
    assert "should have" in error.message or "goes on" in error.message
    assert not known.part.exists() and not known.notes.exists()
    assert known.fetch() == SUM


@pytest.mark.parametrize("page", [b"<!doctype html><title>Log in</title>", b"GG"])
def test_a_page_instead_of_a_file(server: FakeServer, unknown: Got, page: bytes) -> None:
    server.faults.append(Fault(serves=page))
    assert unknown.error().code == "not_a_model" and not unknown.part.exists()


def test_a_length_that_is_not_said(server: FakeServer, unknown: Got, known: Got) -> None:
    server.faults.append(Fault(without_length=True))
    assert unknown.error().code == "size_unknown"
    server.faults.append(Fault(without_length=True))
    assert known.fetch() == SUM


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (404, "not_found", 2),
        (410, "not_found", 2),
        (401, "not_allowed", 2),
        (403, "not_allowed", 2),
        (400, "bad_address", 2),
        (500, "server_unavailable", 3),
        (503, "server_unavailable", 3),
        (429, "rate_limited", 3),
    ],
)
def test_what_a_status_means(server: FakeServer, either: Got, status: int, code: str, exit_code: int) -> None:
    server.faults += [Fault(drop=1000), *[Fault(status=status)] * 9]
    error = either.error()
    assert (error.code, error.exit_code) == (code, exit_code) and str(status) in error.message and error.remedy
    assert either.part.read_bytes() == CONTENT[: either.part.stat().st_size]
    server.faults.clear()
    assert either.fetch() == SUM


def test_a_server_that_is_busy_for_a_while(server: FakeServer, either: Got) -> None:
    server.faults += [Fault(status=503), Fault(status=429), Fault(status=502)]
    assert either.fetch() == SUM and sum("again in" in line for line in either.said) == 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_kept(server: FakeServer, either: Got, form: str) -> None:
    began = time.monotonic()
    asked = "1" if form == "seconds" else in_seconds(1.9)
    server.faults.append(Fault(status=429, headers={"Retry-After": asked}))
    assert either.fetch() == SUM
    assert 0.8 <= time.monotonic() - began < 6 and "as it asks" in either.said[0]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_wait_that_is_too_long(server: FakeServer, known: Got, form: str) -> None:
    asked = "3600" if form == "seconds" else in_seconds(3600)
    server.faults.append(Fault(status=429, headers={"Retry-After": asked}))
    error = known.error()
    assert error.code == "rate_limited" and "seconds" in error.message and len(server.seen) == 1


def test_retry_after() -> None:
    assert seconds_asked(None) is None and seconds_asked("soon") is None and seconds_asked("-1") is None
    assert seconds_asked(" 7 ") == 7.0 and seconds_asked(in_seconds(-50)) == 0.0
    assert 55 <= (seconds_asked(in_seconds(60)) or 0) <= 60
    assert seconds_asked("9" * 40) == 999_999_999.0


def test_no_server_at_all(tmp_path: Path) -> None:
    with FakeServer() as gone:
        url = gone.url
    got = Got(tmp_path, RemoteFile(f"{url}/m.gguf", "m.gguf"))
    error = got.error()
    assert (error.code, error.exit_code) == ("network_unreachable", 3) and "127.0.0.1" in error.message


def test_progress_is_told(server: FakeServer, tmp_path: Path) -> None:
    told: list[Progress] = []
    remote = RemoteFile(f"{server.url}/m.gguf", "m.gguf")
    fetch(remote, tmp_path / "m", tmp_path / "n", progress=told.append)
    assert told[-1].bytes == told[-1].total == len(CONTENT) and told[-1].rate > 0
    assert [now.bytes for now in told] == sorted(now.bytes for now in told)


def test_the_token_goes_to_the_hub_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.token = "hf_31415926535"
    sources = Sources(Hub(hub.url, hub.token))
    wanted = locate("hf:owner/repo:Q4_K_M", sources, patience=QUICK)
    assert "31415926535" not in repr(wanted) + repr(sources)
    stored = pull(Store(tmp_path), wanted, patience=QUICK)
    assert stored.path.read_bytes() == CONTENT and stored.source == f"hf:owner/repo@{COMMIT}:m-Q4_K_M.gguf"
    assert all(seen.headers["authorization"] == "Bearer hf_31415926535" for seen in hub.seen) and hub.seen
    assert hub.cdn.seen and not any("authorization" in seen.headers for seen in hub.cdn.seen)
    # Nothing else is asked of the hub, and nobody is told which program this runs in.
    assert {seen.path.split("?")[0] for seen in hub.seen} == {
        "/api/models/owner/repo",
        f"/owner/repo/resolve/{COMMIT}/m-Q4_K_M.gguf",
    }
    assert not any("agent/" in seen.headers["user-agent"] or "torch" in seen.headers["user-agent"] for seen in hub.seen)
    for file in (tmp_path / "models").rglob("*"):
        if file.is_file() and file.suffix != ".gguf":
            assert b"31415926535" not in file.read_bytes() and b"signature" not in file.read_bytes()


def test_the_token_does_not_come_back_from_another_host(hub: FakeHub, tmp_path: Path) -> None:
    """Hub, other host, and to the hub again: who was elsewhere is a stranger."""
    back = f"{hub.url}/owner/repo/resolve/main/m-Q4_K_M.gguf"
    hub.token = "hf_31415926535"
    with FakeServer() as other:
        other.faults.append(Fault(status=302, headers={"Location": back}))
        other.blobs["/x"] = CONTENT
        hub.redirect_to = f"{other.url}/x"
        got = Got(tmp_path, RemoteFile(back, "m", token=hub.token))
        assert got.error().code == "not_allowed"
        assert "authorization" not in other.seen[0].headers and "authorization" not in hub.seen[-1].headers


def test_redirects_that_lead_nowhere(server: FakeServer, unknown: Got) -> None:
    server.faults += [Fault(status=302, headers={"Location": "/m.gguf"})] * 20
    assert unknown.error().code == "bad_address" and len(server.seen) == 10
    server.faults.clear()
    server.faults.append(Fault(status=302, headers={"Location": "file:///etc/passwd"}))
    assert unknown.error().code == "bad_address"


def test_a_redirect_that_gives_up_encryption() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": "http://cdn.example/m.gguf"})

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as client,
        pytest.raises(InputError) as caught,
        opened(client, "https://hub.example/m.gguf", {}, ""),
    ):
        pass
    assert caught.value.code == "bad_address" and "http://cdn.example" in caught.value.message


@pytest.mark.parametrize("token", ["", "hf_wrong"])
def test_a_model_behind_conditions(hub: FakeHub, tmp_path: Path, token: str) -> None:
    hub.token = "hf_right"
    with pytest.raises(InputError) as caught:
        locate("hf:owner/repo", Sources(Hub(hub.url, token)), patience=QUICK)
    assert caught.value.code == "not_allowed" and "hf_" not in str(caught.value) + caught.value.remedy
    assert ("token was sent" in caught.value.remedy) == bool(token)


def test_what_a_hub_has_not(hub: FakeHub) -> None:
    sources = Sources(Hub(hub.url))
    table = [
        ("hf:owner/nothing", "not_found"),
        ("hf:owner/repo@v2", "not_found"),
        ("hf:owner/repo:Q8_0", "no_such_quant"),
        ("hf:owner/repo:other.gguf", "no_such_quant"),
        ("hf:repo", "bad_reference"),
        ("hf:owner/repo/more", "bad_reference"),
        ("hf:../..", "bad_reference"),
        ("ollama:a/b/c", "bad_reference"),
        ("ollama:", "bad_reference"),
        ("http://user:swordfish@127.0.0.1/m.gguf", "bad_reference"),
        ("no-such-model", "model_unknown"),
        ("solder", "not_published"),
    ]
    for what, code in table:
        with pytest.raises(InputError) as caught:
            locate(what, sources, patience=QUICK)
        assert caught.value.code == code, what
        assert caught.value.remedy and "swordfish" not in caught.value.message
    hub.repositories["owner/empty"] = {"README.md": b"#"}
    with pytest.raises(InputError, match=r"there is no a model"):
        locate("hf:owner/empty", sources, patience=QUICK)


def test_a_hub_that_is_none(server: FakeServer) -> None:
    server.blobs["/api/models/owner/repo"] = b"<html>"
    with pytest.raises(InputError) as caught:
        locate("hf:owner/repo", Sources(Hub(server.url)), patience=QUICK)
    assert caught.value.code == "bad_address"


def test_a_hub_that_is_busy(hub: FakeHub) -> None:
    hub.api_faults += [Fault(status=503), Fault(status=429, headers={"Retry-After": "0"})]
    said: list[str] = []
    wanted = locate("hf:owner/repo", Sources(Hub(hub.url)), patience=QUICK, say=said.append)
    assert wanted.bytes == len(CONTENT) and len(said) == 2
    hub.api_faults.append(Fault(status=429, headers={"Retry-After": "9999"}))
    with pytest.raises(MachineError, match="9999") as caught:
        locate("hf:owner/repo", Sources(Hub(hub.url)), patience=QUICK)
    assert caught.value.code == "rate_limited"


def test_a_mirror_that_lists_no_sums(hub: FakeHub, tmp_path: Path) -> None:
    """The redirect of the file says them; where neither does, size and sum are those of what came."""
    hub.lists_sums = False
    for number, links in enumerate((True, False)):
        hub.links = links
        wanted = locate("hf:owner/repo", Sources(Hub(hub.url)), patience=QUICK)
        assert wanted.bytes == -1 and wanted.key == ""
        stored = pull(Store(tmp_path / str(number)), wanted, patience=QUICK)
        assert stored.files[0].sha256 == SUM and stored.path.read_bytes() == CONTENT
    hub.links = True
    hub.cdn.faults.append(Fault(serves=b"GGUF" + bytes(300_000)))
    with pytest.raises(MachineError) as caught:
        pull(Store(tmp_path / "3"), wanted, patience=QUICK)
    assert caught.value.code == "checksum_mismatch"


def test_a_hub_whose_file_is_another(hub: FakeHub, tmp_path: Path) -> None:
    """Seen before a byte of it comes."""
    url = f"{hub.url}/owner/repo/resolve/main/m-Q4_K_M.gguf"
    got = Got(tmp_path, RemoteFile(url, "m", len(CONTENT), "0" * 64))
    assert got.error().code == "checksum_mismatch" and not hub.cdn.seen
    # By a plain address: begun with one version, gone on with another.
    got = Got(tmp_path, RemoteFile(url, "m"))
    hub.cdn.faults += [Fault(drop=50_000), *[Fault(drop=0)] * 9]
    got.error()
    hub.cdn.faults.clear()
    changed = b"GGUF" + bytes(400_000)
    hub.repositories["owner/repo"]["m-Q4_K_M.gguf"] = changed
    assert got.fetch() == hashlib.sha256(changed).hexdigest()
    assert any("changed; starting over" in line for line in got.said)


def test_which_file_a_reference_means(hub: FakeHub) -> None:
    names = [
        "mmproj-F16.gguf",
        "M-Q4_K_M.gguf",
        "M-UD-Q4_K_M.gguf",
        "M-Q3_K_S-2.69bpw.gguf",
        "BF16/M-BF16-00001-of-00002.gguf",
        "BF16/M-BF16-00002-of-00002.gguf",
        "M-Q8_0-00001-of-00002.gguf",
    ]
    hub.repositories["owner/many"] = {name: b"GGUF" + name.encode() for name in names}

    def of(what: str) -> list[str]:
        wanted = locate(f"hf:owner/many{what}", Sources(Hub(hub.url)), patience=QUICK)
        return [file.name for file in wanted.files]

    assert of("") == ["M-Q4_K_M.gguf"] == of(":q4_k_m") == of(":M-Q4_K_M.gguf")
    assert of(":UD-Q4_K_M") == ["M-UD-Q4_K_M.gguf"] and of(":Q3_K_S-2.69bpw") == ["M-Q3_K_S-2.69bpw.gguf"]
    assert of(":BF16") == names[4:6] == of("@main:BF16/M-BF16-00002-of-00002.gguf")
    for what in (":Q8_0", ":Q4_K", ":M-*.gguf"):
        with pytest.raises(InputError) as caught:
            of(what)
        assert caught.value.code == "no_such_quant" and "M-Q4_K_M.gguf" in caught.value.remedy


def test_a_model_of_the_catalogue(hub: FakeHub, tmp_path: Path) -> None:
    """Where size and sum are known the hub is not asked; another quant is looked for in the same repository."""
    sources = Sources(Hub(hub.url))
    wanted = locate("qwen3-coder-30b-a3b", sources, quant="q4_k_m", patience=QUICK)
    assert (wanted.bytes, wanted.name, wanted.quant) == (18_556_689_568, "qwen3-coder-30b-a3b-q4_k_m", "Q4_K_M")
    assert wanted.files[0].url.startswith(f"{hub.url}/unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF/resolve/")
    assert len(wanted.key) == 64 and locate("qwen3-coder:30b", sources).key == wanted.key and not hub.seen
    names = [f"Qwen3-Coder-30B-A3B-Instruct-{quant}.gguf" for quant in ("Q2_K", "Q4_K_M")]
    hub.repositories["unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF"] = dict.fromkeys(names, CONTENT)
    wanted = locate("qwen3-coder-30b-a3b", sources, quant="Q2_K", patience=QUICK)
    stored = pull(Store(tmp_path), wanted, patience=QUICK)
    assert (stored.id, stored.quant, stored.name) == ("qwen3-coder-30b-a3b", "Q2_K", "qwen3-coder-30b-a3b-q2_k")
    assert Store(tmp_path).find("qwen3-coder-30b-a3b") == stored
    with pytest.raises(InputError) as caught:
        locate("qwen3-coder-30b-a3b", sources, quant="Q5_0", patience=QUICK)
    assert caught.value.code == "no_such_quant"


def test_the_registry_of_ollama(tmp_path: Path) -> None:
    with FakeOllama() as registry:
        registry.models = {"library/qwen3-coder:30b": CONTENT, "me/mine:latest": CONTENT + b"2"}
        registry.cdn.faults += [Fault(drop=70_000), Fault(status=503)]
        sources = Sources(ollama_registry=registry.url)
        store = Store(tmp_path)
        wanted = locate("ollama:qwen3-coder:30b", sources, patience=QUICK)
        assert (wanted.bytes, wanted.name, wanted.id) == (len(CONTENT), "qwen3-coder-30b", "qwen3-coder-30b-a3b")
        stored = pull(store, wanted, patience=QUICK)
        assert stored.path.read_bytes() == CONTENT and stored.files[0].sha256 == SUM
        assert pull(store, locate("ollama:me/mine", sources, patience=QUICK)).path.read_bytes() == CONTENT + b"2"
        for what in ("ollama:qwen3-coder:31b", "ollama:me/other"):
            with pytest.raises(InputError) as caught:
                locate(what, sources, patience=QUICK)
            assert caught.value.code == "not_found"
        registry.layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:x", "size": 1}]
        with pytest.raises(InputError) as caught:
            locate("ollama:me/mine", sources, patience=QUICK)
        assert caught.value.code == "no_gguf"


def test_offline_asks_nobody(hub: FakeHub, tmp_path: Path) -> None:
    for what in ("hf:owner/repo", "ollama:a", f"{hub.url}/m.gguf", "qwen3-coder-30b-a3b"):
        with pytest.raises(MachineError) as caught:
            locate(what, Sources(Hub(hub.url), hub.url, True))
        assert caught.value.code == "offline"
    assert not hub.seen


def test_the_disk_is_checked_first(hub: FakeHub, tmp_path: Path) -> None:
    huge = RemoteFile(f"{hub.url}/owner/repo/resolve/main/m-Q4_K_M.gguf", "m-Q4_K_M.gguf", 1 << 50, SUM)
    with pytest.raises(MachineError) as caught:
        pull(Store(tmp_path), Wanted((huge,), "hf:x", "m"), patience=QUICK)
    assert caught.value.code == "disk_too_small" and f"{1 << 50:,}" in caught.value.message and not hub.seen


_FETCH = """
import resource, signal, sys
from pathlib import Path
from tinsmith.errors import TinsmithError
from tinsmith.models.download import RemoteFile, fetch
place = Path(sys.argv[2])
if len(sys.argv) > 3:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    fetch(RemoteFile(sys.argv[1], "m.gguf"), place / "m.part", place / "m.json")
except TinsmithError as error:
    print(error.code, (place / "m.part").stat().st_size, error.exit_code)
"""


def test_a_file_system_that_takes_no_such_file(server: FakeServer, unknown: Got, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FETCH, unknown.remote.url, str(tmp_path), "100000"], capture_output=True, text=True
    )
    code, kept, exit_code = done.stdout.split()
    assert (code, exit_code) == ("file_too_large", "3") and 0 < int(kept) <= 100_000
    assert unknown.fetch() == SUM and server.seen[-1].headers["range"] == f"bytes={kept}-"


def test_a_disk_that_is_full(server: FakeServer, unknown: Got) -> None:
    """A real one, of 128 KiB, mounted by bubblewrap."""
    try:
        bubblewrap = str(Sandbox.find().bwrap)
    except MachineError:
        pytest.skip("bubblewrap cannot run here, and nobody else may mount a small file system")
    place = ["--dev-bind", "/", "/", "--size", str(128 << 10), "--tmpfs", "/mnt"]
    command = [sys.executable, "-c", _FETCH, unknown.remote.url, "/mnt"]
    done = subprocess.run([bubblewrap, *place, *command], capture_output=True, text=True)
    code, kept, exit_code = done.stdout.split()
    assert (code, exit_code) == ("disk_full", "3") and 0 < int(kept) <= 128 << 10
