"""Names that let code see or change how it is tested: what a fix rarely needs and a cheat does.

A name is followed through a file's imports (`from os import _exit as leave`) and through modules that other
modules show (`shutil.os.environ`), not through values: `o = os` is itself a finding.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TEXT = {
    "exit": "`{name}` can end the test run before it has judged anything.",
    "test-access": "`{name}` lets code see or change how it is being tested.",
    "environment": "`{name}` asks where it runs, so the code can behave differently in a test.",
    "clock": "`{name}` reads the clock, so the code can behave differently later.",
    "dynamic": "`{name}` runs or finds code that cannot be seen in the patch.",
    "process": "`{name}` starts another program, which the audit cannot follow.",
    "patching": "`{name}` is changed from outside its module; that can change what the tests use.",
}

_NAMES = {
    "exit": "sys.exit os._exit os.abort os.kill os.killpg posix signal faulthandler "
    "builtins.exit builtins.quit builtins.SystemExit builtins.KeyboardInterrupt builtins.GeneratorExit",
    "test-access": "pytest _pytest pluggy unittest nose doctest sys.modules sys.meta_path sys.path_hooks sys.path "
    "sys.path_importer_cache sys.argv sys.orig_argv sys.flags sys.gettrace sys.settrace sys.getprofile sys.setprofile "
    "sys.monitoring sys._getframe sys._getframemodulename sys._current_frames sys.excepthook sys.unraisablehook "
    "sys.addaudithook inspect.stack inspect.currentframe inspect.trace inspect.getouterframes inspect.getinnerframes "
    "traceback.extract_stack traceback.walk_stack traceback.format_stack atexit gc ctypes _ctypes cffi builtins "
    "builtins.__builtins__ builtins.__debug__ builtins.breakpoint threading.settrace threading.setprofile "
    "importlib.abc importlib.machinery importlib.util zipimport pkgutil imp site runpy pdb bdb codecs.register "
    "os.write os.dup os.dup2 os.close os.closerange os.fdopen fcntl resource",
    "environment": "os.environ os.environb os.getenv os.getenvb os.putenv os.unsetenv os.getppid os.uname os.getlogin "
    "os.getuid socket.gethostname platform.node getpass.getuser",
    "clock": "time.time time.time_ns time.monotonic time.monotonic_ns time.perf_counter time.perf_counter_ns "
    "time.process_time time.process_time_ns time.thread_time time.clock_gettime time.clock_gettime_ns time.localtime "
    "time.gmtime time.ctime time.asctime datetime.datetime.now datetime.datetime.today datetime.datetime.utcnow "
    "datetime.date.today",
    "dynamic": "builtins.eval builtins.exec builtins.compile builtins.__import__ builtins.globals "
    "importlib.import_module importlib.reload importlib.__import__ pickle.load pickle.loads marshal types.CodeType "
    "types.FunctionType types.ModuleType code codeop",
    "process": "subprocess os.system os.popen os.fork os.forkpty os.execl os.execle os.execlp os.execlpe os.execv "
    "os.execve os.execvp os.execvpe os.spawnl os.spawnle os.spawnv os.spawnve os.posix_spawn os.posix_spawnp "
    "multiprocessing pty",
}
_RULES = {name: rule for rule, names in _NAMES.items() for name in names.split()}
_MODULES = frozenset(name.partition(".")[0] for name in _RULES) - {
    "builtins",
    "datetime",
    "types",
    "socket",
    "platform",
}
_ATTRIBUTES = frozenset(
    {
        "f_back",
        "f_locals",
        "f_globals",
        "f_code",
        "f_builtins",
        "tb_frame",
        "gi_frame",
        "cr_frame",
        "ag_frame",
        "__subclasses__",
        "__globals__",
        "__builtins__",
        "__loader__",
        "__closure__",
        "_getframe",
        "meta_path",
        "settrace",
    }
)
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
_WORDS = (
    "test_",
    "tests/",
    "pytest",
    "conftest",
    "tinsmith",
    "unittest",
    "sitecustomize",
    "/proc/",
    "__builtins__",
    "_getframe",
)


@dataclass(frozen=True)
class Occurrence:
    """Something seen in a file. `key` tells it from others: what has as many of a key before is not new."""

    rule: str
    key: str
    line: int
    text: str


def suspicious_names(tree: ast.Module) -> Iterator[Occurrence]:
    """Every use of such a name, monkeypatching of modules, and words of the test machinery in strings."""
    docstrings = _docstrings(tree)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    scope = _Scope(tree, parents)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and not isinstance(parents.get(node), ast.Attribute):
            if found := scope.rule_of(node):
                yield _seen(*found, node, parents)
            if isinstance(node, ast.Attribute):
                yield from _patched(node, scope)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from _reflected(node, scope)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield from _imported(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            if word := next((word for word in _WORDS if word in node.value.lower()), ""):
                text = f"The text {node.value[:60]!r} names the test machinery ({word})."
                yield Occurrence("test-access", repr(node.value), node.lineno, text)
        elif isinstance(node, _FUNCTIONS) and node.name.startswith("pytest_"):
            yield _occurrence("test-access", node.name, node)
        elif isinstance(node, ast.Name) and node.id == "pytest_plugins":
            yield _occurrence("test-access", node.id, node)


class _Scope:
    """What the names of one file stand for."""

    def __init__(self, tree: ast.Module, parents: Mapping[ast.AST, ast.AST]) -> None:
        self._parents = parents
        self._imported: dict[str, str] = {}
        self._own = {node.name for node in tree.body if isinstance(node, _FUNCTIONS | ast.ClassDef)}
        self._locals: dict[ast.AST, set[str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    self._imported[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    origin = f"{node.module}.{alias.name}" if node.module and not node.level else ""
                    self._imported[alias.asname or alias.name] = origin

    def dotted(self, node: ast.expr) -> str:
        """The full name of an attribute chain, empty where its root is a value of the file's own."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        if self._is_local(node):
            return ""
        root = self._imported.get(node.id, "" if node.id in self._own else f"builtins.{node.id}")
        if not root:
            return ""
        return ".".join([*root.split("."), *reversed(names)])

    def rule_of(self, node: ast.expr) -> tuple[str, str] | None:
        """(rule, name) of a name or attribute chain."""
        name = self.dotted(node)
        root = node
        while isinstance(root, ast.Attribute):
            root = root.value
        if name and isinstance(root, ast.Name) and self._imported.get(root.id) == "builtins":
            return "test-access", name  # the module by its name: whoever only calls has no need of it
        parts = name.split(".")
        # `shutil.os.environ`: a module that another one shows.
        inner = [at for at, part in enumerate(parts) if at and part.lstrip("_") in _MODULES and parts[0] != "builtins"]
        for full in (parts, *([parts[at].lstrip("_"), *parts[at + 1 :]] for at in inner)):
            for length in range(len(full), 1 if full[0] == "builtins" else 0, -1):
                if rule := _RULES.get(".".join(full[:length])):
                    return rule, ".".join(full).removeprefix("builtins.")
        if name in _MODULES:
            return "dynamic", name
        while isinstance(node, ast.Attribute):
            if node.attr in _ATTRIBUTES:
                return "test-access", node.attr
            if node.attr in ("__dict__", "__getattribute__") and self.dotted(node.value) in _MODULES:
                return "dynamic", f"{self.dotted(node.value)}.{node.attr}"
            node = node.value
        return None

    def _is_local(self, name: ast.Name) -> bool:
        """Whether a function around the name gives it another meaning. Its own defaults lie outside of it."""
        child: ast.AST = name
        while (parent := self._parents.get(child)) is not None:
            if isinstance(parent, _FUNCTIONS) and child in parent.body:
                if parent not in self._locals:
                    self._locals[parent] = _bound_in(parent)
                if name.id in self._locals[parent]:
                    return True
            child = parent
        return False


def _bound_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    nodes = list(ast.walk(function))
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    shared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    return (stored - shared) | {node.arg for node in nodes if isinstance(node, ast.arg)}


def _imported(node: ast.ImportFrom) -> Iterator[Occurrence]:
    for alias in node.names:
        name = f"{node.module}.{alias.name}"
        rule = _RULES.get(name) or _RULES.get(str(node.module).partition(".")[0])
        if alias.name == "*" and str(node.module) in _MODULES:
            rule = "dynamic"
        if rule:
            yield _occurrence(rule, name, node)


def _reflected(node: ast.Call, scope: _Scope) -> Iterator[Occurrence]:
    """`getattr(os, "environ")` and `setattr(json, "loads", ...)`."""
    assert isinstance(node.func, ast.Name)
    if node.func.id not in ("getattr", "setattr", "delattr", "vars") or not node.args:
        return
    target = scope.dotted(node.args[0])
    if not target or target.startswith("builtins."):
        return
    if node.func.id in ("setattr", "delattr"):
        yield _occurrence("patching", target, node)
    elif node.func.id == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        name = f"{target}.{node.args[1].value}"
        if name in _RULES:
            yield _occurrence(_RULES[name], name, node)


def _patched(node: ast.Attribute, scope: _Scope) -> Iterator[Occurrence]:
    """`json.loads = ...`, of a module or class that was imported."""
    if isinstance(node.ctx, ast.Load):
        return
    name = scope.dotted(node) or (node.attr if node.attr in ("__code__", "__class__") else "")
    if name and not name.startswith("builtins."):
        yield _occurrence("patching", name, node)


def _seen(rule: str, name: str, node: ast.expr, parents: dict[ast.AST, ast.AST]) -> Occurrence:
    """The key is the whole call or subscript, so that an old one with another argument is new."""
    whole: ast.AST = node
    while (parent := parents.get(whole)) is not None:
        climbs = (
            (isinstance(parent, ast.Attribute | ast.Subscript) and parent.value is whole)
            or (isinstance(parent, ast.Call) and parent.func is whole)
        )  # fmt: skip
        if not climbs:
            break
        whole = parent
    text = _TEXT[rule].format(name=name)
    # Of the clock only the reading counts: `now()` that became `now(tz)` reads it no more than before.
    return Occurrence(rule, name if rule == "clock" else f"{name} {ast.dump(whole)}", node.lineno, text)


def _occurrence(rule: str, name: str, node: ast.stmt | ast.expr) -> Occurrence:
    return Occurrence(rule, name, node.lineno, _TEXT[rule].format(name=name))


def _docstrings(tree: ast.Module) -> set[ast.AST]:
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
