"""Toolchains in the sandbox: what is found by reading, what is mounted and what never is; the way to named hosts."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinsmith.errors import InputError
from tinsmith.workspace import Allowlist, Proxy, Sandbox, TestRunner, Workspace, find_python
from tinsmith.workspace.environments import detect, installed_in_tree, load_recipes
from tinsmith.workspace.environments.python_environments import environments_of
from tinsmith.workspace.environments.recipe import parse_recipe
from tinsmith.workspace.network.allowlist import is_public, parse_target


def put(top: Path, path: str, content: str = "", *, mode: int = 0o644) -> Path:
    (top / path).parent.mkdir(parents=True, exist_ok=True)
    (top / path).write_text(content)
    (top / path).chmod(mode)
    return top / path


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox.find()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "repo").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path / "repo", check=True)
    return tmp_path / "repo"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with toolchains and, beside them, secrets."""
    home = tmp_path / "home"
    put(home, ".cargo/bin/cargo", "#!/bin/sh\n", mode=0o755)
    put(home, ".cargo/credentials.toml", "secret")
    put(home, ".cargo/registry/cache/x.crate")
    put(home, ".rustup/toolchains/stable/bin/rustc")
    put(home, ".rustup/settings.toml")
    put(home, "sdk/go/bin/go", "#!/bin/sh\n", mode=0o755)
    put(home, "go/pkg/mod/cache/x")
    put(home, ".m2/repository/x.jar")
    put(home, ".m2/settings.xml", "secret")
    put(home, ".nvm/versions/node/v20/bin/node", "#!/bin/sh\n", mode=0o755)
    put(home, ".ssh/id_ed25519", "secret")
    return home


def environ(home: Path, *path: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": ":".join([*path, "/usr/bin", "/bin"])}


# ---- detection


def test_a_repository_without_marks_gets_nothing(repo: Path, home: Path) -> None:
    put(repo, "pyproject.toml")
    found = detect(repo, environment=environ(home))
    assert (found.names, found.mounts, dict(found.env), found.test_command) == ((), (), {}, None)


def test_rust_shows_the_registry_and_toolchains_and_no_credentials(repo: Path, home: Path) -> None:
    put(repo, "Cargo.toml")
    found = detect(repo, environment=environ(home, f"{home}/.cargo/bin"))
    assert found.names == ("rust",) and found.test_command == "cargo test" and not found.missing
    assert set(found.mounts) == {
        (home / ".cargo/bin", home / ".cargo/bin"),
        (home / ".cargo/registry", Path("/home/agent/.cargo/registry")),
        (home / ".rustup/toolchains", Path("/home/agent/.rustup/toolchains")),
        (home / ".rustup/settings.toml", Path("/home/agent/.rustup/settings.toml")),
    }
    assert found.offline["CARGO_NET_OFFLINE"] == "true" and found.path == (f"{home}/.cargo/bin",)
    elsewhere = {**environ(home), "CARGO_HOME": str(home / ".nvm")}
    assert detect(repo, environment=elsewhere).missing in (("cargo",), ())
    assert not any(".cargo" in str(source) for source, _ in detect(repo, environment=elsewhere).mounts)


def test_go_and_maven_and_a_package_below_the_top(repo: Path, home: Path) -> None:
    put(repo, "go.mod", "module x\n")
    put(repo, "service/pom.xml")
    found = detect(repo, environment=environ(home, f"{home}/sdk/go/bin"))
    assert found.names == ("go",) and found.test_command == "go test ./..."
    assert (home / "sdk/go", home / "sdk/go") in found.mounts and found.env["GOROOT"] == f"{home}/sdk/go"
    assert (home / "go/pkg/mod", Path("/home/agent/go/pkg/mod")) in found.mounts and found.offline["GOPROXY"] == "off"
    below = detect(repo, "service", environment=environ(home, f"{home}/sdk/go/bin"))
    assert below.names == ("go", "maven") and below.test_command == "mvn --offline --batch-mode test"
    assert (home / ".m2/repository", Path("/home/agent/.m2/repository")) in below.mounts
    other = {**environ(home), "GOPATH": f"{home}/work/go"}
    put(home, "work/go/pkg/mod/x")
    assert (home / "work/go/pkg/mod", Path("/home/agent/go/pkg/mod")) in detect(repo, environment=other).mounts


def test_a_python_package_is_tested_by_python_whatever_else_lies_beside_it(repo: Path, home: Path) -> None:
    put(repo, "package.json", "{}")
    assert detect(repo, environment=environ(home)).test_command == "npm test"
    put(repo, "pyproject.toml")
    found = detect(repo, environment=environ(home))
    assert found.names == ("javascript",) and found.test_command is None


def test_a_program_that_is_missing_is_told(repo: Path, home: Path) -> None:
    put(repo, "build.gradle")
    found = detect(repo, environment={"HOME": str(home), "PATH": "/nonexistent"})
    assert found.names == ("gradle",) and found.missing == ("gradle", "java")


def test_programs_of_the_checkout_are_not_the_persons(repo: Path, home: Path) -> None:
    put(repo, "go.mod")
    put(repo, "bin/go", "#!/bin/sh\n", mode=0o755)
    (home / "link").symlink_to(repo / "bin")
    path = {"HOME": str(home), "PATH": f"{repo}/bin:{home}/link:bin"}
    found = detect(repo, environment=path)
    assert found.missing == ("go",) and not found.path


def test_nothing_broad_and_nothing_secret_is_ever_shown(repo: Path, home: Path) -> None:
    put(repo, "x.mark")
    put(home, ".local/bin/tool", "#!/bin/sh\n", mode=0o755)
    (home / "alias").symlink_to(home)
    (home / "keys").symlink_to(home / ".ssh")
    texts = ["~/", "${HOME}", "/", str(home.parent), "~/.ssh", "~/.ssh/id_ed25519", "~/.config", "~/alias", "~/keys",
             "~/.local", "~/*", "~/.*", str(repo), f"{repo}/sub", "${UNSET}"]  # fmt: skip
    (repo / "sub").mkdir()
    recipe = 'name = "broad"\nfiles = ["x.mark"]\n[[programs]]\nname = "tool"\n'
    recipe += "".join(f'[[mounts]]\nfrom = "{text}"\n' for text in texts)
    found = detect(repo, recipes=[parse_recipe(recipe, "x")], environment=environ(home, f"{home}/.local/bin"))
    shown = {source for source, _ in found.mounts}
    allowed = {home / ".local/bin/tool", *(home / n for n in (".cargo", ".rustup", "sdk", "go", ".m2", ".nvm"))}
    assert shown <= allowed and home / ".local/bin/tool" in shown
    assert {str(home), "/", str(home / ".ssh"), str(home / "keys"), str(repo)} <= set(found.refused)


# ---- recipes


def test_a_person_extends_recipes_and_a_repository_cannot(repo: Path, home: Path) -> None:
    put(repo, "Cargo.toml")
    put(repo, "BUILD.zig")
    more = 'name = "rust"\n[env]\nRUSTFLAGS = "-Dwarnings"\n[[tests]]\ncommand = "cargo nextest run"\n'
    zig = 'name = "zig"\nfiles = ["BUILD.zig"]\n[[mounts]]\nfrom = "~/.nvm"\nto = "~/.zig"\n'
    put(home, ".config/tinsmith/environments/rust.toml", more)
    put(home, ".config/tinsmith/environments/zig.toml", zig)
    found = detect(repo, environment=environ(home, f"{home}/.cargo/bin"))
    assert found.names == ("rust", "zig") and found.test_command == "cargo nextest run"
    assert found.env["RUSTFLAGS"] == "-Dwarnings" and found.env["CARGO_HOME"] == "/home/agent/.cargo"
    assert (home / ".nvm", Path("/home/agent/.zig")) in found.mounts
    put(repo, "conf/tinsmith/environments/own.toml", 'name = "own"\nfiles = ["Cargo.toml"]\n')
    planted = {**environ(home), "XDG_CONFIG_HOME": str(repo / "conf")}
    assert detect(repo, environment=planted).names == ("rust",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = 3",
        'name = "Up"',
        'name = "x"\nmount = []',
        'name = "x"\nfiles = ["../x"]',
        'name = "x"\nfiles = ["/x"]',
        'name = "x"\n[[mounts]]\nfrom = "x"',
        'name = "x"\n[[mounts]]\nfrom = "~/a/../.ssh"',
        'name = "x"\n[[mounts]]\nfrom = "/a"\nto = "b"',
        'name = "x"\n[[programs]]\nname = "a/b"',
        'name = "x"\n[[programs]]\nname = "a"\nshow = "all"',
        'name = "x"\n[env]\n"A=B" = "c"',
        'name = "x"\n[env]\nA = 3',
        'name = "x"\naddress_space = -1',
        'name = "x',
    ],
)
def test_a_recipe_that_is_wrong_is_bad_input(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_recipe(text, "mine.toml")
    assert caught.value.code == "bad_recipe" and "mine.toml" in caught.value.message


def test_the_recipes_that_come_along_are_sound() -> None:
    names = {recipe.name for recipe in load_recipes({"HOME": "/nonexistent"})}
    assert names == {"javascript", "go", "rust", "maven", "gradle", "cmake"}


# ---- node_modules


def test_node_modules_are_mounted_where_git_does_not_track_them(repo: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    put(repo, "package.json", '{"scripts": {"test": "sh run.sh"}}')
    put(repo, ".gitignore", "node_modules\n")
    put(repo, "node_modules/left/index.js", "ok\n")
    put(repo, "node_modules/left/gyp.py", "x = 1\n")
    put(repo, "packages/a/node_modules/right/index.js", "ok\n")
    put(repo, "vendored/node_modules/own.js", "ours\n")
    secret = put(tmp_path, "secret/key", "secret\n")
    (repo / "linked").mkdir()
    (repo / "linked/node_modules").symlink_to(secret.parent)
    subprocess.run(["git", "add", "-f", "vendored/node_modules/own.js"], cwd=repo, check=True)
    found = installed_in_tree(repo, load_recipes({"HOME": "/nonexistent"}))
    assert set(found) == {"node_modules", "packages/a/node_modules"}
    workspace = Workspace.create(repo, tmp_path / "work", python=Path(sys.executable))
    assert set(workspace.paths(workspace.base)) >= {"package.json", "vendored/node_modules/own.js"}
    look = "cat node_modules/left/index.js packages/a/node_modules/right/index.js vendored/node_modules/own.js;"
    look += "cat linked/node_modules/key; echo x >node_modules/left/index.js"
    done = workspace.run(sandbox, ["sh", "-c", look], timeout=20)
    assert b"ok\nok\nours\n" in done.output and b"secret\n" not in done.output and b"Read-only" in done.output
    assert workspace.snapshot() == workspace.base
    again = Workspace.open(tmp_path / "work")
    assert again.environment() == workspace.environment() and again.environment().names == ("javascript",)
    put(repo, "service/pom.xml")
    assert again.environment("service").names == ("javascript", "maven")
    copy = workspace.clean_copy(workspace.base)
    assert copy.run(sandbox, ["cat", "node_modules/left/index.js"], timeout=20).output == b"ok\n"


# ---- Python environments


def make_environment(place: Path, *, pytest_too: bool = True) -> Path:
    put(place, "pyvenv.cfg")
    put(place, "bin/python", "#!/bin/sh\n", mode=0o755)
    if pytest_too:
        put(place, "lib/python3.12/site-packages/pytest/__init__.py")
    return place


def test_where_python_environments_are_looked_for(repo: Path, home: Path) -> None:
    put(repo, "pyproject.toml", '[tool.poetry]\nname = "My App"\n')
    put(repo, "environment.yml", "name: lab\ndependencies: []\n")
    for name in ("py39", "py312", "lint"):
        make_environment(repo / ".tox" / name)
    make_environment(repo / "venv")
    put(home, ".conda/environments.txt", f"{home}/else\n{home}/data/envs/lab\n")
    import base64
    import hashlib

    digest = base64.urlsafe_b64encode(hashlib.sha256(str(repo.resolve()).encode()).digest()).decode()[:8]
    poetry = make_environment(home / f".cache/pypoetry/virtualenvs/my_app-{digest}-py3.12")
    make_environment(home / ".cache/pypoetry/virtualenvs/my_app-AAAAAAAA-py3.12")
    found = list(environments_of(repo, {"HOME": str(home), "CONDA_PREFIX": "/opt/base", "CONDA_DEFAULT_ENV": "base"}))
    assert found[:2] == [poetry, home / "data/envs/lab"]
    assert found[-3:] == [repo / "venv", repo / ".tox/py312", repo / ".tox/py39"]
    active = environments_of(repo, {"HOME": str(home), "CONDA_PREFIX": "/opt/e", "CONDA_DEFAULT_ENV": "e"})
    assert Path("/opt/e") in active


def test_an_environment_without_pytest_is_passed_over(repo: Path) -> None:
    if os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX"):
        pytest.skip("an environment is active, which comes first")
    make_environment(repo / "venv", pytest_too=False)
    assert find_python(repo) == Path(sys.executable)
    make_environment(repo / "env")
    assert find_python(repo) == repo / "env/bin/python"


# ---- real tools


@pytest.mark.skipif(shutil.which("cargo") is None, reason="Rust is not installed")
def test_cargo_itself(repo: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    put(repo, "Cargo.toml", '[package]\nname = "calc"\nversion = "0.1.0"\nedition = "2021"\n[lib]\ndoctest = false\n')
    put(repo, ".gitignore", "target\nCargo.lock\n")
    code = "pub fn add(a: i32, b: i32) -> i32 { a - b }\n#[cfg(test)]\nmod tests {\n"
    code += '    #[test] fn adds() { println!("test tests::adds ... ok"); assert_eq!(super::add(1, 2), 3); }\n'
    code += "    #[test] fn good() { assert_eq!(super::add(2, 1), 1); }\n}\n"
    put(repo, "src/lib.rs", code)
    workspace = Workspace.create(repo, tmp_path / "work", python=Path(sys.executable))
    if workspace.run(sandbox, ["cargo", "--version"], timeout=60).returncode:
        pytest.skip("cargo lies where the sandbox does not show it")
    runner = TestRunner(workspace, sandbox)
    report = runner.run(timeout=300)
    assert {nodeid: (o.outcome, o.by) for nodeid, o in report.outcomes.items()} == {
        "src/lib.rs::tests::adds": ("failed", "assertion"),
        "src/lib.rs::tests::good": ("passed", None),
    }
    assert report.outcomes["src/lib.rs::tests::adds"].frames[-1].line == 4
    assert set(runner.run(["src/lib.rs::tests::good"], timeout=300).outcomes) == {"src/lib.rs::tests::good"}


# ---- the way to named hosts: what the list means


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "*.org",
        "a b",
        "a\0b",
        "user@host",
        "host:0",
        "host:65536",
        "host:x",
        "http://host",
        "host/path",
        "127.1:80",
        "0x7f.1:80",
        "2130706433",
        "0177.0.0.1",
        "1.2.3.4.5",
        "[::1",
        "::1",
        "[::0001]:80",
        "[1.2.3.4]:80",
        "host..org",
        "-host.org",
        "hôst.org",
        "host.org:80:80",
        "*.1.2.3.4",
        "host%2eorg",
        "host.org=",
        "host.org=localhost",
        "host.org=127.1",
        "*.host.org=127.0.0.1",
        "127.0.0.1=10.0.0.1",
        "a" * 64 + ".org",
    ],
)
def test_what_is_no_host_cannot_be_allowed(text: str) -> None:
    with pytest.raises(InputError) as caught:
        Allowlist.parse([text])
    assert caught.value.code == "bad_host"


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("example.org:443", True),
        ("EXAMPLE.org.:80", True),
        ("example.org:8080", False),
        ("www.example.org:443", False),
        ("notexample.org:443", False),
        ("example.org.evil.com:443", False),
        ("a.pages.dev:443", True),
        ("a.b.pages.dev:443", True),
        ("pages.dev:443", False),
        ("evilpages.dev:443", False),
        ("local.test:8080", True),
        ("local.test:443", False),
        ("127.0.0.1:9000", True),
        ("127.0.0.1:80", False),
        ("[::1]:9000", True),
        ("93.184.216.34:443", False),
    ],
)
def test_which_targets_a_list_allows(target: str, allowed: bool) -> None:
    listed = Allowlist.parse(["example.org", "*.pages.dev", "local.test:8080", "127.0.0.1:9000", "[::1]:9000"])
    parsed = parse_target(target)
    assert parsed is not None and listed.allows(parsed) is allowed


@pytest.mark.parametrize(
    "target",
    [
        "example.org",
        "example.org:",
        "example.org:+80",
        "example.org: 80",
        "example.org:080000",
        "user@example.org:443",
        "example.org\0.evil.com:443",
        "example.org%00:443",
        "example.org\r\n:443",
        "127.1:9000",
        "127.0.0.01:9000",
        "0x7f000001:9000",
        "2130706433:9000",
        "017700000001:9000",
        "::1:9000",
        "[::ffff:127.0.0.1]:9000x",
        "[::1%lo]:9000",
        "[0:0:0:0:0:0:0:1]:9000",
        "example。org:443",
        "example.org:４４３",
        "[example.org]:443",
    ],
)
def test_other_spellings_are_no_targets(target: str) -> None:
    assert parse_target(target) is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:93.184.216.34",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:1::1",
        "2001:db8::1",
        "not an address",
    ],
)
def test_addresses_that_no_name_may_lead_to(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_public() -> None:
    assert is_public("93.184.216.34") and is_public("2606:2800:220:1:248:1893:25c8:1946")


# ---- the proxy


class Handler(BaseHTTPRequestHandler):
    seen: list[tuple[str, str, dict[str, str], bytes]]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append((self.command, self.path, dict(self.headers), body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from outside\n")

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    handler = type("Seen", (Handler,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def seen(server: ThreadingHTTPServer) -> list[tuple[str, str, dict[str, str], bytes]]:
    handler = server.RequestHandlerClass
    assert issubclass(handler, Handler)
    return handler.seen


class FakeResolver:
    """Answers as an attacker's name server would."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0)


def ask(directory: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(f"{directory}/socket/proxy")
        client.sendall(request)
        answer = b""
        while data := client.recv(1 << 16):
            answer += data
            if b"200 Connection established\r\n\r\n" in answer:
                break
        return answer


def test_a_plain_request_is_passed_on_once_and_written_anew(tmp_path: Path, server: ThreadingHTTPServer) -> None:
    port = server.server_address[1]
    with Proxy(Allowlist.parse([f"127.0.0.1:{port}"]), tmp_path / "n") as proxy:
        request = (
            f"POST http://127.0.0.1:{port}/a?b=c HTTP/1.1\r\nHost: other.example\r\nContent-Length: 4\r\n"
            "Proxy-Authorization: secret\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-Kept: 2\r\n\r\nbody"
            f"GET http://127.0.0.1:{port}/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        answer = ask(tmp_path / "n", request.encode())
        assert b"200" in answer and answer.endswith(b"hello from outside\n")
        ((method, path, headers, body),) = seen(server)
        assert (method, path, body) == ("POST", "/a?b=c", b"body")
        assert headers["Host"] == f"127.0.0.1:{port}" and headers["X-Kept"] == "2"
        assert not {"Proxy-Authorization", "X-Hop"} & headers.keys() and headers["Connection"] == "close"
        assert [(a.target, a.verdict) for a in proxy.attempts] == [(f"127.0.0.1:{port}", "allowed")]
    assert not (tmp_path / "n").exists()


ATTACKS = [
    b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n",
    b"CONNECT 127.0.0.1:PORT HTTP/1.1\r\n\r\n",
    b"CONNECT [::ffff:127.0.0.1]:PORT HTTP/1.1\r\n\r\n",
    b"CONNECT 2130706433:PORT HTTP/1.1\r\n\r\n",
    b"CONNECT localhost:PORT HTTP/1.1\r\n\r\n",
    b"CONNECT good.example:22 HTTP/1.1\r\n\r\n",
    b"CONNECT good.example HTTP/1.1\r\n\r\n",
    b"CONNECT good.example\0.evil.example:443 HTTP/1.1\r\n\r\n",
    b"CONNECT evil.example\0.good.example:443 HTTP/1.1\r\n\r\n",
    b"CONNECT good.example@evil.example:443 HTTP/1.1\r\n\r\n",
    b"CONNECT evil.example:443#good.example:443 HTTP/1.1\r\n\r\n",
    b"CONNECT good.example:443 evil.example:443 HTTP/1.1\r\n\r\n",
    b"CONNECT good.example:443 HTTP/2.0\r\n\r\n",
    b"GET http://good.example@127.0.0.1:PORT/ HTTP/1.1\r\n\r\n",
    b"GET http://good.example:80@127.0.0.1:PORT/ HTTP/1.1\r\n\r\n",
    b"GET http://127.0.0.1:PORT\\@good.example/ HTTP/1.1\r\n\r\n",
    b"GET http://127.0.0.1:PORT#@good.example/ HTTP/1.1\r\n\r\n",
    b"GET http://127.0.0.1:PORT?@good.example/ HTTP/1.1\r\n\r\n",
    b"GET http://127.0.0.1:PORT%2f@good.example/ HTTP/1.1\r\n\r\n",
    b"GET http://127.0.0.1:PORT/ HTTP/1.1\r\nHost: good.example\r\n\r\n",
    b"GET http:///127.0.0.1:PORT/ HTTP/1.1\r\n\r\n",
    b"GET https://good.example/ HTTP/1.1\r\n\r\n",
    b"GET file:///etc/passwd HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n",
    b"GET http://good.example/ HTTP/1.1\r\nX: a\nHost: evil\r\n\r\n",
    b"GET http://good.example/ HTTP/1.1\r\nX : a\r\n\r\n",
    b"GET http://good.example/ HTTP/1.1\r\n folded\r\n\r\n",
    b"POST http://good.example/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    b"POST http://good.example/ HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
    b"POST http://good.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET http://good.example/ HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    b"\x05\x01\x00\r\n\r\n",
]


@pytest.mark.parametrize("request_", ATTACKS, ids=[str(n) for n in range(len(ATTACKS))])
def test_a_request_for_another_place_reaches_none(tmp_path: Path, server: ThreadingHTTPServer, request_: bytes) -> None:
    """`good.example` is allowed and resolves to a public address that nobody answers for; the server is what an
    attacker wants to reach."""
    port = str(server.server_address[1]).encode()
    resolver = FakeResolver(["127.0.0.1"])
    with Proxy(Allowlist.parse(["good.example"]), tmp_path / "n", resolve=resolver) as proxy:
        answer = ask(tmp_path / "n", request_.replace(b"PORT", port))
        assert answer.split(b" ")[1] in (b"400", b"403", b"411", b"431")
        assert not seen(server) and all(attempt.verdict != "allowed" for attempt in proxy.attempts)
        assert not resolver.asked


def test_a_name_that_leads_home_leads_nowhere(tmp_path: Path, server: ThreadingHTTPServer) -> None:
    """Rebinding: the name's addresses are looked at, and what was looked at is what is connected to."""
    port = server.server_address[1]
    home = ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "127.0.0.1%lo"]
    resolver = FakeResolver(home, [])
    with Proxy(Allowlist.parse([f"good.example:{port}"]), tmp_path / "n", resolve=resolver) as proxy:
        for verdict in (b"403", b"403"):
            answer = ask(tmp_path / "n", b"CONNECT good.example:%d HTTP/1.1\r\n\r\n" % port)
            assert answer.split(b" ")[1] == verdict
        assert [a.verdict for a in proxy.attempts] == ["the name leads to no public address"] * 2
    assert not seen(server) and resolver.asked == ["good.example"] * 2


def test_a_name_leads_to_a_private_address_where_the_list_says_which(
    tmp_path: Path, server: ThreadingHTTPServer
) -> None:
    port = server.server_address[1]
    resolver = FakeResolver()
    allow = Allowlist.parse([f"mirror.internal:{port}=127.0.0.1"])
    with Proxy(allow, tmp_path / "n", resolve=resolver):
        answer = ask(tmp_path / "n", f"GET http://mirror.internal:{port}/ HTTP/1.1\r\n\r\n".encode())
        assert answer.endswith(b"hello from outside\n") and not resolver.asked
        assert seen(server)[0][2]["Host"] == f"mirror.internal:{port}"
        assert b" 403 " in ask(tmp_path / "n", f"CONNECT other.internal:{port} HTTP/1.1\r\n\r\n".encode())


def test_a_command_reaches_the_host_that_is_named_and_no_other(
    repo: Path, tmp_path: Path, sandbox: Sandbox, server: ThreadingHTTPServer
) -> None:
    port = server.server_address[1]
    put(repo, "a.txt")
    code = f"""
import os, socket, urllib.request, urllib.error
os.environ["no_proxy"] = ""  # the server stands in for a host elsewhere
proxy = urllib.request.build_opener(urllib.request.ProxyHandler({{"http": os.environ["HTTP_PROXY"]}}))
print(proxy.open("http://127.0.0.1:{port}/x", timeout=20).read().decode())
for url in ("http://127.0.0.1:{port + 1}/", "http://evil.example/"):
    try: proxy.open(url, timeout=20)
    except urllib.error.HTTPError as error: print(error.code)
host, _, own = os.environ["HTTP_PROXY"].rpartition(":")
with socket.create_connection(("127.0.0.1", int(own)), 20) as tunnel:
    tunnel.sendall(b"CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\n")
    print(tunnel.recv(100).split(b" ")[1])
    tunnel.sendall(b"GET /tunnel HTTP/1.0\\r\\n\\r\\n")
    answer = b""
    while data := tunnel.recv(1000): answer += data
    print(answer.endswith(b"outside\\n"))
for address in (("127.0.0.1", {port}), ("192.0.2.1", 80)):
    try: socket.create_connection(address, 2); print("open")
    except OSError as error: print("closed")
raise SystemExit(7)
"""
    workspace = Workspace.create(repo, tmp_path / "work", python=Path(sys.executable))
    with Proxy(Allowlist.parse([f"127.0.0.1:{port}"]), tmp_path / "n") as proxy:
        done = workspace.run(sandbox, [sys.executable, "-c", code], timeout=60, network=proxy)
        assert done.output.decode().split() == [
            "hello", "from", "outside", "403", "403", "b'200'", "True", "closed", "closed",
        ]  # fmt: skip
        assert done.returncode == 7
        missing = workspace.run(sandbox, ["no-such-program"], timeout=60, network=proxy)
        assert missing.returncode == 127
        killed = workspace.run(sandbox, ["sh", "-c", "kill -9 $$"], timeout=60, network=proxy)
        assert killed.returncode == 137 and not killed.timed_out
    assert [path for _, path, _, _ in seen(server)] == ["/x", "/tunnel"]
    off = workspace.run(sandbox, ["sh", "-c", "echo ${HTTP_PROXY:-none}; ls /opt"], timeout=60)
    assert b"none" in off.output and b"tinsmith-network" not in off.output
