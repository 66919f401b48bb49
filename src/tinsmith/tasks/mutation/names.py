"""What one function knows."""

import ast

from tinsmith.tasks.mutation.confusions import NOT_VARIABLES


class Names:
    """What one function knows: names by role, attributes by owner, strings."""

    def __init__(self, node: ast.AST) -> None:
        self.variables: list[str] = []
        self.called: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.methods: dict[str, list[str]] = {}
        self.strings: list[str] = []
        self.has_self = False
        self.is_async = isinstance(node, ast.AsyncFunctionDef)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            self.has_self = bool(arguments) and arguments[0].arg == "self"
            self.variables = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
        functions: set[int] = set()
        owners: set[int] = set()
        for child in ast.walk(node):
            if isinstance(child, ast.Call):
                functions.add(id(child.func))
            elif isinstance(child, ast.Attribute):
                owners.add(id(child.value))
            if isinstance(child, ast.Name) and (id(child) not in owners or child.id in self.variables):
                names = self.called if id(child) in functions else self.variables
                if child.id not in names and child.id not in ("self", "cls") and child.id not in NOT_VARIABLES:
                    names.append(child.id)
            if isinstance(child, ast.Attribute):
                owner = ast.unparse(child.value) if isinstance(child.value, (ast.Name, ast.Attribute)) else ""
                known = (self.methods if id(child) in functions else self.attributes).setdefault(owner, [])
                if child.attr not in known:
                    known.append(child.attr)
            elif (
                isinstance(child, ast.Constant)
                and isinstance(child.value, str)
                and (0 < len(child.value) <= 30 and child.value.isprintable() and child.value not in self.strings)
            ):
                self.strings.append(child.value)
        self.variables = [name for name in self.variables if name not in self.called or not name[:1].isupper()]
