"""What the text of a written reproduction may hold, before it is run.

A test that reads the clock, draws numbers, needs the network or changes the code that it tests proves nothing, however
it comes out. This check is for a model that means well: it follows imports and plain names, not what is computed.
What it misses the runs on clean copies may still tell.
"""

import ast
import builtins
import warnings
from collections.abc import Collection, Iterator, Mapping

_BANNED = {
    "reads the clock": (
        "Use fixed times",
        "time datetime.datetime.now datetime.datetime.utcnow datetime.datetime.today datetime.date.today",
    ),
    "is random": (
        "Use fixed values",
        "random secrets uuid.uuid1 uuid.uuid4 os.urandom os.getrandom numpy.random",
    ),
    "reads the environment": (
        "Use fixed values",
        "os.environ os.environb os.getenv os.putenv os.getlogin os.getpid os.cpu_count platform getpass",
    ),
    "uses the network": (
        "Call functions of the repository that need none",
        "socket ssl urllib.request http.client http.server urllib3 requests httpx aiohttp ftplib smtplib",
    ),
    "starts processes": (
        "Call the repository's functions instead",
        "subprocess multiprocessing concurrent.futures.ProcessPoolExecutor pty os.system os.popen os.fork os.kill "
        "os.posix_spawn os.execv os.spawnv asyncio.create_subprocess_exec asyncio.create_subprocess_shell",
    ),
    "ends the test run": (
        "Let a failed assertion tell",
        "sys.exit os._exit os.abort pytest.exit builtins.exit builtins.quit",
    ),
    "skips itself": (
        "A reproduction must fail now",
        "pytest.skip pytest.xfail pytest.importorskip pytest.mark.skip pytest.mark.skipif pytest.mark.xfail "
        "unittest.skip unittest.skipIf unittest.skipUnless unittest.SkipTest unittest.expectedFailure",
    ),
    "changes how tests run": (
        "Write plain test functions",
        "sys.modules sys.settrace sys.setprofile sys.meta_path sys.path_hooks sys.excepthook importlib.reload _pytest "
        "pluggy pytest.hookimpl atexit ctypes gc builtins.exec builtins.eval builtins.compile builtins.__import__ "
        "builtins.__builtins__",
    ),
}
"""{what the test does: (what to do instead, the dotted names by which it does it)}."""
_MODULES = frozenset(name for _, names in _BANNED.values() for name in names.split())
_SEEDED = frozenset(
    {"random.Random", "random.seed", "numpy.random.default_rng", "numpy.random.seed", "numpy.random.RandomState"}
)
"""Random in name only where they are called with a seed."""
_CLOCK_METHODS = frozenset({"now", "utcnow", "today"})
_TEMPORARY = frozenset({"tmp_path", "tmp_path_factory", "tmpdir", "tmpdir_factory"})
_WRITERS = frozenset(
    {f"os.{name}" for name in ("remove", "unlink", "rename", "renames", "replace", "rmdir", "removedirs", "mkdir")}
    | {f"os.{name}" for name in ("makedirs", "symlink", "link", "chmod", "truncate", "open")}
    | {f"shutil.{name}" for name in ("rmtree", "move", "copy", "copy2", "copyfile", "copytree")}
)
_WRITING_METHODS = frozenset({"write_text", "write_bytes", "unlink", "rmdir"})
_OPENERS = frozenset({"builtins.open", "io.open"})
_PATCHERS = frozenset({"setattr", "delattr", "setitem", "delitem", "patch"})
_FAILS = frozenset({"pytest.fail", "?.self.fail"})
_BUILTINS = frozenset({*dir(builtins), "exit", "quit", "__builtins__"})


class Unproven(Exception):
    """Why a test is no reproduction, and what to change: a sentence or two for the model."""


def check_source(text: str, own: Collection[str]) -> ast.Module:
    """The syntax tree of a test file. `own`: the top-level names under which the repository's code is imported.

    Raises Unproven.
    """
    tree = _parsed(text)
    if not any(_is_test(node) for node in ast.walk(tree)):
        raise Unproven("There is no test in it. Write a function whose name begins with `test_`.")
    names = _imported(tree)
    _check_names(tree, names, own)
    _check_patches(tree, names, own)
    _check_files(tree, names)
    for function in filter(_is_test, ast.walk(tree)):
        _check_can_pass(function, names)
    return tree


def raising_lines(tree: ast.Module) -> set[int]:
    """The lines of every `raise` statement."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def _parsed(text: str) -> ast.Module:
    try:
        text.encode()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except SyntaxError as error:
        raise Unproven(
            f"It is not valid Python: {error.msg}, line {error.lineno}. Write the whole file, as code and nothing else."
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unproven("It is not valid Python. Write a short, plain test file.") from error


def _is_test(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")


def _imported(tree: ast.Module) -> dict[str, str]:
    """{name in the file: what it is, dotted}. What is imported relatively begins with a dot."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                names[alias.asname or alias.name] = module if alias.name == "*" else f"{module}.{alias.name}"
    return names


def _dotted(node: ast.AST, names: Mapping[str, str]) -> str:
    """What a name or a chain of attributes stands for, or nothing. A name of the file's own begins with `?`."""
    if isinstance(node, ast.Name):
        return names.get(node.id) or ("builtins." if node.id in _BUILTINS else "?.") + node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value, names)):
        return f"{owner}.{node.attr}"
    return ""


def _is_own(dotted: str, own: Collection[str]) -> bool:
    return dotted.startswith(".") or dotted.partition(".")[0] in own


def _chains(tree: ast.Module) -> Iterator[ast.Name | ast.Attribute]:
    """Names and attributes, but none that is only the beginning of a longer chain."""
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner:
            yield node


def _check_names(tree: ast.Module, names: Mapping[str, str], own: Collection[str]) -> None:
    seeded = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args}
    for node in _chains(tree):
        dotted = _dotted(node, names)
        if (dotted in _SEEDED and id(node) in seeded) or "." not in dotted:  # a module by its name alone does nothing
            continue
        if isinstance(node, ast.Attribute) and node.attr == "skipTest":
            dotted = "unittest.skip"
        if isinstance(node, ast.Attribute) and node.attr in _CLOCK_METHODS and _is_foreign(dotted, own):
            dotted = "time"
        for what, (remedy, prefixes) in _BANNED.items():
            if any(dotted == prefix or dotted.startswith(prefix + ".") for prefix in prefixes.split()):
                raise Unproven(f"The test {what}: `{ast.unparse(node)}`, line {node.lineno}. {remedy}.")
    for node in ast.walk(tree):
        hook = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("pytest_")
        plugin = isinstance(node, ast.Name) and node.id == "pytest_plugins"
        if hook or plugin:
            raise Unproven("The file changes how tests run. Write plain test functions, no hooks and no plugins.")
        if isinstance(node, ast.ImportFrom) and node.module in _MODULES and node.names[0].name == "*":
            raise Unproven(f"Leave out the import of `{node.module}`, and use fixed values.")


def _is_foreign(dotted: str, own: Collection[str]) -> bool:
    return bool(dotted) and not dotted.startswith(("?.", "builtins.")) and not _is_own(dotted, own)


def _check_patches(tree: ast.Module, names: Mapping[str, str], own: Collection[str]) -> None:
    """The repository's own code, and what Python builds on, must be as it is."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        match node:
            case ast.Assign(targets=assigned) | ast.Delete(targets=assigned):
                targets = [each for each in assigned if isinstance(each, ast.Attribute | ast.Subscript)]
            case ast.AugAssign(target=ast.Attribute() | ast.Subscript() as target):
                targets = [target]
            case ast.Call() if _patches(node):
                targets = node.args[:1] + [keyword.value for keyword in node.keywords if keyword.arg == "target"]
            case _:
                pass
        for target in targets:
            dotted = _target(target, names)
            if _is_own(dotted, own) or dotted.startswith("builtins."):
                raise Unproven(
                    f"The test changes the code that it tests: `{ast.unparse(node)[:80]}`. Call the real code as it is."
                )


def _patches(call: ast.Call) -> bool:
    """Whether this is `setattr`, `monkeypatch.setattr`, `patch`, `mock.patch.object` or the like."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr in ("object", "dict", "multiple"):
        function = function.value
    last = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return last in _PATCHERS


def _target(node: ast.expr, names: Mapping[str, str]) -> str:
    while isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return _dotted(node, names)


def _check_files(tree: ast.Module, names: Mapping[str, str]) -> None:
    temporary = _temporary_names(tree, names)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not _writes(node, names):
            continue
        if not any(_is_temporary(part, temporary, names) for part in ast.walk(node)):
            raise Unproven(
                f"The test writes or deletes a file outside a temporary directory: `{ast.unparse(node)[:80]}`. "
                "Use tmp_path for files."
            )


def _writes(call: ast.Call, names: Mapping[str, str]) -> bool:
    dotted = _dotted(call.func, names)
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if dotted in _WRITERS or method in _WRITING_METHODS:
        return True
    if dotted in _OPENERS:
        modes = call.args[1:2]
    elif method == "open":
        modes = call.args[:1] if dotted.startswith("?.") or not dotted else call.args[1:2]
    else:
        return False
    modes = modes + [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    return any(not isinstance(mode, ast.Constant) or not set("wax+").isdisjoint(str(mode.value)) for mode in modes)


def _temporary_names(tree: ast.Module, names: Mapping[str, str]) -> set[str]:
    """Every name that holds a temporary directory or something made from one."""
    known = set(_TEMPORARY)
    while True:
        before = len(known)
        for node in ast.walk(tree):
            targets: list[ast.expr] = []
            value: ast.AST | None = None
            match node:
                case ast.Assign(targets=targets, value=value):
                    pass
                case ast.AnnAssign(target=target, value=value) | ast.For(target=target, iter=value):
                    targets = [target]
                case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                    targets = [target]
                case ast.FunctionDef(name=name, args=args) if known & {arg.arg for arg in args.args}:
                    known.add(name)  # a fixture of the file's
                case _:
                    pass
            if value is not None and any(_is_temporary(part, known, names) for part in ast.walk(value)):
                known |= {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        if len(known) == before:
            return known


def _is_temporary(node: ast.AST, known: Collection[str], names: Mapping[str, str]) -> bool:
    if isinstance(node, ast.Name) and node.id in known:
        return True
    return _dotted(node, names).partition(".")[0] == "tempfile"


def _check_can_pass(function: ast.AST, names: Mapping[str, str]) -> None:
    """A test that fails whatever the code does shows nothing."""
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not any(isinstance(part, ast.Name) for part in ast.walk(node.test)):
            raise Unproven(
                f"`{ast.unparse(node)[:80]}` does not depend on the code. Assert what a call of it should give."
            )
    for statement in function.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        fails = isinstance(call, ast.Call) and _dotted(call.func, names) in _FAILS
        if fails or isinstance(statement, ast.Raise):
            raise Unproven(
                f"`{function.name}` fails whatever the code does. Assert what a call of the code should give."
            )
