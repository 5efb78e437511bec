"""What the text of a flow says about it, where its file cannot be executed: a package may be missing.

The imports and the assignments of the file are executed one by one, and those that fail are left out; so
options that are not literals can mostly be read. The body is not needed: a placeholder has the signature of
the flow, and raises when it is run.
"""

import ast
import copy
import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from taskyard._engine.loading.entrypoints import Entrypoint
from taskyard._engine.loading.scripts import found_beside
from taskyard.exceptions import MissingFlowError

logger: Final = logging.getLogger("taskyard.flows")

Function = ast.FunctionDef | ast.AsyncFunctionDef
READABLE: Final = frozenset(
    {"name", "version", "description", "flow_run_name", "retries", "retry_delay_seconds", "timeout_seconds"}
    | {"validate_parameters", "persist_result", "cache_result_in_memory", "log_prints"}
)
"""The options that can be read without the code that they belong to."""
_EXECUTED: Final = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
_RAISE: Final = "_taskyard_raise"


class FlowText(NamedTuple):
    """The definition of a flow in a file."""

    function: Function
    file: str
    tree: ast.Module

    @classmethod
    def at(cls, entrypoint: str) -> "FlowText":
        """Find the definition that an entrypoint names.

        Raises:
            ValueError: It is no entrypoint.
            OSError: The file cannot be read.
            SyntaxError: It is not Python.
            MissingFlowError: There is no such function in it.
        """
        place = Entrypoint.of(entrypoint)
        file = place.file()
        if file is None:
            raise MissingFlowError(f"the module {place.place!r} has no file to read a flow from")
        with open(file, "rb") as opened:
            tree = ast.parse(opened.read(), file)
        found = _defined(tree.body, place.attribute.split("."))
        if found is None:
            raise MissingFlowError(place.missing())
        return cls(found, file, tree)

    @property
    def is_async(self) -> bool:
        """Whether it is a coroutine function."""
        return isinstance(self.function, ast.AsyncFunctionDef)

    def namespace(self) -> dict[str, Any]:
        """Return the names that the file imports and assigns, as far as that works here."""
        names: dict[str, Any] = {"__name__": "__taskyard_placeholder__", "__file__": self.file}
        parts = [one for one in self.tree.body if isinstance(one, _EXECUTED)]
        with found_beside(self.file):
            for part in parts:
                try:
                    exec(compile(ast.Module([part], []), self.file, "exec"), names)
                except (Exception, SystemExit) as error:  # foreign code
                    logger.debug("%s, line %d, was left out: %r", self.file, part.lineno, error)
        return names

    def options(self, names: dict[str, Any], wanted: frozenset[str] = READABLE) -> dict[str, Any]:
        """Return the options of the decorator that can be read, and the name if there is none among them."""
        read: dict[str, Any] = {}
        for option in self._keywords():
            if option.arg in wanted:
                try:
                    read[option.arg] = _evaluated(option.value, self.file, names)
                except (Exception, SystemExit) as error:  # foreign code
                    said = ast.unparse(option.value)
                    logger.info("the flow's option %s=%s cannot be read here: %r", option.arg, said, error)
        if "name" in wanted and not read.get("name"):
            read["name"] = self.function.name
        return read

    def _keywords(self) -> list[ast.keyword]:
        """Return the options of ``@flow(...)``, or ``@taskyard.flow(...)``."""
        for decorator in self.function.decorator_list:
            if isinstance(decorator, ast.Call):
                called = decorator.func
                name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                if name == "flow":
                    return decorator.keywords
        return []

    def placeholder(self, names: dict[str, Any], error: BaseException) -> Callable[..., Any]:
        """Return a function with the signature of the flow, that raises an exception when it is called."""
        function = copy.deepcopy(self.function)
        function.decorator_list = []
        _keep_signature(function, self.file, names)
        body: list[ast.stmt] = [ast.parse(f"{_RAISE}()").body[0]]
        if ast.get_docstring(function) is not None:
            body.insert(0, function.body[0])
        function.body = body

        def fail() -> None:
            raise error

        names = {**names, _RAISE: fail}
        tree = ast.fix_missing_locations(ast.Module([function], []))
        exec(compile(tree, self.file, "exec"), names)
        made: Callable[..., Any] = names[function.name]
        return made


def _defined(body: list[ast.stmt], path: list[str]) -> Function | None:
    """Return the function of a name, which may lie in classes, and in ``if`` and ``try`` at their top."""
    name, *inside = path
    found: Function | None = None
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == name and inside:
            found = _defined(node.body, inside) or found
        elif isinstance(node, Function) and node.name == name and not inside:
            found = node
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            parts = [*node.body, *getattr(node, "orelse", []), *getattr(node, "finalbody", [])]
            handlers = [stmt for handler in getattr(node, "handlers", []) for stmt in handler.body]
            found = _defined(parts + handlers, path) or found
    return found


def _keep_signature(function: Function, file: str, names: dict[str, Any]) -> None:
    """Take out of a signature what cannot be evaluated here; a parameter with a default keeps having one."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    for argument in named:
        if argument is not None and not _is_known(argument.annotation, file, names):
            argument.annotation = None
    if not _is_known(function.returns, file, names):
        function.returns = None
    given.defaults = [_default(one, file, names) for one in given.defaults]
    given.kw_defaults = [None if one is None else _default(one, file, names) for one in given.kw_defaults]


def _default(value: ast.expr, file: str, names: dict[str, Any]) -> ast.expr:
    return value if _is_known(value, file, names) else ast.Constant(None)


def _is_known(value: ast.expr | None, file: str, names: dict[str, Any]) -> bool:
    if value is None:
        return True
    try:
        _evaluated(value, file, names)
    except (Exception, SystemExit):  # foreign code
        return False
    return True


def _evaluated(value: ast.expr, file: str, names: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(value), file, "eval"), dict(names))
