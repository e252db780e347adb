"""Finding the fixed point of a policy on idle ticks.

If a call on an idle tick changed nothing, read nothing that changes from tick to tick and decided nothing, then
repeating it on an unchanged mirror gives the same again, so it need not be repeated until something observable changes.
To see whether a call changed something, the source is instrumented: before every statement that might have an effect
beyond the function's own new objects, a counter goes up. Only what is known to be harmless is left unmarked. Some
statements are judged when they run (`refinements`): a list rebuilt into an equal one, a list extended by nothing.

What the marks cannot see is refused altogether (`refusals`): iterators that live on, modules whose calls are not known,
classes with special methods.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from quintain_faas.guest.guard import bound_names, parse
from quintain_faas.guest.refinements import mark, note_extension, note_sort, note_store, tells_lists_apart
from quintain_faas.guest.refusals import refuse

_PURE_FUNCTIONS = frozenset(
    {"abs", "all", "any", "bool", "dict", "divmod", "enumerate", "filter", "float", "frozenset", "id", "int",
     "isinstance", "len", "list", "max", "min", "print", "range", "repr", "reversed", "round", "set", "sorted", "str",
     "sum", "tuple", "type", "zip", "getattr", "hasattr", "next"}
)  # fmt: skip
_PURE_METHODS = frozenset(
    {"can_suspend_container", "copy", "count", "difference", "endswith", "failed", "format", "get",
     "get_allocated_ram_gb", "get_consumed_ram_gb", "get_container_by_id", "get_current_memory_usage",
     "get_latency_ticks", "get_ops", "get_pipeline_id", "get_pool_id_with_max_avail_ram", "get_segments",
     "get_total_ram_gb", "has_timed_out", "index", "intersection", "is_completed", "is_pipeline_successful",
     "is_suspended", "issubset", "issuperset", "items", "join", "keys", "lower", "now_seconds", "now_ticks",
     "num_completed", "runtime_status", "split", "startswith", "state", "strip", "ticks_elapsed", "to_dict", "union",
     "upper", "values"}
)  # fmt: skip
_PURE_MATH = frozenset({"ceil", "exp", "floor", "inf", "isclose", "isfinite", "isinf", "isnan", "log", "log2", "sqrt"})
_MUTATORS = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popleft", "remove", "reverse",
     "setdefault", "sort", "update"}
)  # fmt: skip
_NEW_BY_CALL = frozenset(
    {"abs", "bool", "dict", "float", "frozenset", "int", "len", "list", "range", "round", "set", "sorted", "str", "sum",
     "tuple"}
)  # fmt: skip
_NEW_BY_SYNTAX = (
    ast.List, ast.Dict, ast.Set, ast.Tuple, ast.ListComp, ast.DictComp, ast.SetComp, ast.Constant, ast.Compare,
    ast.JoinedStr, ast.UnaryOp, ast.BinOp,
)  # fmt: skip
_NEW_CONTAINERS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def instrument(source: str) -> ast.Module:
    """The module with marks. Line numbers stay. Raises NotInstrumentable."""
    tree = parse(source)
    bound = bound_names(tree)
    refuse(tree, bound)
    _Marker(tree, bound).mark_module(tree)
    return ast.fix_missing_locations(tree)


# ------------------------------------------------------------------------------------------------------------- marking


def _own_nodes(function: ast.FunctionDef | ast.Module) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions and classes inside it."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            stack.extend(ast.iter_child_nodes(node))


class _Locals:
    """Which names of a function hold only objects that the function itself made (`new`), and which of those hold only
    new containers as elements (`nested`)."""

    def __init__(self, function: ast.FunctionDef, bound_elsewhere: set[str]) -> None:
        good: set[str] = set()
        bad = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)} | bound_elsewhere
        values: dict[str, list[ast.expr]] = {}
        assigned: set[int] = set()
        for node in _own_nodes(function):
            pairs: list[tuple[ast.expr, ast.expr]] = []
            if isinstance(node, ast.Assign):
                pairs = [(target, node.value) for target in node.targets]
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                pairs = [(node.target, node.value)]
            for target, value in pairs:
                if isinstance(target, ast.Name):
                    assigned.add(id(target))
                    values.setdefault(target.id, []).append(value)
                    (good if _is_new(value, bound_elsewhere) else bad).add(target.id)
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                assigned.add(id(node.target))  # stays new if it was: see _Marker._has_effect
            if isinstance(node, ast.Global | ast.Nonlocal):
                bad.update(node.names)
        for node in _own_nodes(function):  # every other way of binding a name
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and id(node) not in assigned:
                bad.add(node.id)
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                bad.add(node.name)
        self.new = good - bad
        self.nested = {name for name in self.new if all(_holds_new_containers(value) for value in values[name])}
        self.nested -= set(_escaping_elements(function))


def _is_new(value: ast.expr, bound: set[str]) -> bool:
    if isinstance(value, ast.Call):
        name = value.func.id if isinstance(value.func, ast.Name) else ""
        may_give_its_start = name == "sum" and len(value.args) + len(value.keywords) > 1
        return name in _NEW_BY_CALL and name not in bound and not may_give_its_start
    return isinstance(value, _NEW_BY_SYNTAX)


def _holds_new_containers(value: ast.expr) -> bool:
    match value:
        case ast.ListComp(elt=element) | ast.DictComp(value=element):
            return isinstance(element, _NEW_CONTAINERS)
        case ast.List(elts=elements) | ast.Dict(values=elements):
            return all(isinstance(element, _NEW_CONTAINERS) for element in elements)
        case _:
            return False


def _escaping_elements(function: ast.FunctionDef) -> Iterator[str]:
    """Names whose elements are (or may be) replaced by something that is not a new container."""
    for node in _own_nodes(function):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.For | ast.NamedExpr | ast.With):
            plain = isinstance(node, ast.Assign) and isinstance(node.value, _NEW_CONTAINERS)
            for inner in ast.walk(node):
                stored = isinstance(inner, ast.Subscript) and isinstance(inner.ctx, ast.Store)
                if stored and not plain and isinstance(inner, ast.Subscript) and isinstance(inner.value, ast.Name):
                    yield inner.value.id
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                yield node.target.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MUTATORS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and not all(isinstance(a, _NEW_CONTAINERS) for a in node.args):
                yield owner.id


class _Marker:
    def __init__(self, tree: ast.Module, bound: set[str]) -> None:
        definitions = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        arguments = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        imported = {
            (a.asname or a.name) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names
        }
        decorated = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.decorator_list}
        # Functions of this source, surely: their bodies carry marks of their own.
        self._functions = set(definitions) - stored - arguments - imported - decorated
        self._methods = {
            m.name
            for c in ast.walk(tree)
            if isinstance(c, ast.ClassDef)
            for m in c.body
            if isinstance(m, ast.FunctionDef)
        }
        self._bound = bound
        self._math = "math" in imported and "math" not in stored | arguments | set(definitions)
        # Reading a missing key of these is an effect.
        self._default_dicts = any(
            (isinstance(n, ast.Name) and n.id in ("defaultdict", "Counter", "collections"))
            or (isinstance(n, ast.alias) and n.name in ("defaultdict", "Counter", "collections"))
            for n in ast.walk(tree)
        )
        self._refines_stores = not tells_lists_apart(tree, bound) and "Exception" not in bound
        self._locals: _Locals | None = None

    # ----------------------------------------------------------------------------------------------------- placing

    def mark_module(self, tree: ast.Module) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                self._mark_function(node)

    def _mark_function(self, function: ast.FunctionDef) -> None:
        self._locals = _Locals(function, self._bound_outside(function))
        rebinds_outer = any(isinstance(node, ast.Global | ast.Nonlocal) for node in _own_nodes(function))
        body = self._mark_block(function.body)
        function.body = [_mark(function), *body] if rebinds_outer else body

    def _bound_outside(self, function: ast.FunctionDef) -> set[str]:
        """Names that an inner function rebinds: they are not this function's alone."""
        names: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Nonlocal):
                names.update(node.names)
        return names

    def _mark_block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        marked: list[ast.stmt] = []
        for statement in body:
            effect = self._has_effect(statement)
            refined = self._refined(statement) if effect else None
            if refined:
                marked += refined
                continue
            self._mark_inside(statement, effect)
            if effect:
                marked.append(_mark(statement))
            marked.append(statement)
        return marked

    def _mark_inside(self, statement: ast.stmt, effect: bool) -> None:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            return  # functions inside get their own visit
        for name in ("body", "orelse", "finalbody"):
            block = getattr(statement, name, None)
            if block:
                setattr(statement, name, self._mark_block(block))
        for handler in getattr(statement, "handlers", ()):
            handler.body = self._mark_block(handler.body)
        for case in getattr(statement, "cases", ()):
            case.body = self._mark_block(case.body)
        if effect and isinstance(statement, ast.While):
            statement.body.insert(0, _mark(statement))

    def _refined(self, statement: ast.stmt) -> list[ast.stmt] | None:
        """The statement with a note that tells at run time whether it had an effect; None where only a mark will do."""
        match statement:
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript() as target], value=value):
                if self._refines_stores and self._is_plain(target) and not self._expression_has_effect(value):
                    return note_store(statement, target, value, self._is_own(value) or _is_new(value, self._bound))
            case ast.AugAssign(target=ast.Attribute() as target, op=ast.Add(), value=ast.Name(id=added)):
                if self._is_plain(target):
                    return [note_extension(statement, added), statement]
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=target, attr=method)) as call):
                if method in self._methods or not self._is_plain(target):
                    return None
                match method, call.args, call.keywords:
                    case "extend" | "update", [ast.Name(id=added)], []:
                        return [note_extension(statement, added), statement]
                    case "sort", [], _ if self._callbacks_are_seen(call) and not any(
                        self._expression_has_effect(keyword.value) for keyword in call.keywords
                    ):
                        return [note_sort(statement, target), statement]
        return None

    def _is_plain(self, target: ast.expr) -> bool:
        """Names, attributes and elements by a plain key: evaluating it once more does nothing."""
        match target:
            case ast.Name() | ast.Constant():
                return True
            case ast.Attribute(value=owner):
                return self._is_plain(owner)
            case ast.Subscript(value=owner, slice=key):
                return not self._default_dicts and self._is_plain(owner) and self._is_plain(key)
            case _:
                return False

    # ------------------------------------------------------------------------------------------------------ judging

    def _has_effect(self, statement: ast.stmt) -> bool:
        """Whether the statement itself (not the blocks inside it) might have an effect that outlives the call."""
        assert self._locals is not None
        match statement:
            case ast.FunctionDef():
                return bool(statement.decorator_list or statement.args.defaults or statement.args.kw_defaults)
            case ast.ClassDef() | ast.With() | ast.Import() | ast.ImportFrom() | ast.Raise() | ast.Match():
                return True
            case ast.Global() | ast.Nonlocal() | ast.Pass() | ast.Break() | ast.Continue():
                return False
            case ast.AugAssign(target=ast.Name(id=name)) if name not in self._locals.new:
                return True
            case _:
                return any(self._expression_has_effect(e) for e in _expressions_of(statement))

    def _expression_has_effect(self, expression: ast.AST) -> bool:
        return any(self._node_has_effect(node) for node in ast.walk(expression))

    def _node_has_effect(self, node: ast.AST) -> bool:
        assert self._locals is not None
        match node:
            case ast.Call():
                return self._call_has_effect(node)
            case ast.Attribute(ctx=ast.Store() | ast.Del()):
                return True
            case ast.Subscript(ctx=ast.Store() | ast.Del(), value=owner):
                return not self._is_own(owner)
            case ast.Subscript(ctx=ast.Load(), value=owner):
                return self._default_dicts and not self._is_own(owner)
            case ast.NamedExpr():
                return False
            case _:
                return False

    def _is_own(self, owner: ast.expr) -> bool:
        """Whether `owner` is an object that this very call made."""
        assert self._locals is not None
        match owner:
            case ast.Name(id=name):
                return name in self._locals.new
            case ast.Subscript(value=ast.Name(id=name)):
                return name in self._locals.nested
            case _:
                return False

    def _call_has_effect(self, call: ast.Call) -> bool:
        if any(keyword.arg is None for keyword in call.keywords) or not self._callbacks_are_seen(call):
            return True
        match call.func:
            case ast.Name(id=("getattr" | "hasattr") as name):
                constant = len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
                return name in self._bound or not constant
            case ast.Name(id="next"):
                fresh = bool(call.args) and isinstance(call.args[0], ast.GeneratorExp)
                return "next" in self._bound or not fresh
            case ast.Name(id=name):
                pure = name in _PURE_FUNCTIONS and name not in self._bound
                return not pure and name not in self._functions
            case ast.Attribute(value=ast.Name(id="math"), attr=name) if self._math:
                return name not in _PURE_MATH
            case ast.Attribute(value=owner, attr=name) if name in _MUTATORS:
                return not self._is_own(owner)
            case ast.Attribute(attr=name):
                return name not in _PURE_METHODS and name not in self._methods
            case _:
                return True

    def _callbacks_are_seen(self, call: ast.Call) -> bool:
        """Functions handed over as arguments are called out of sight: they must be of this source."""
        for keyword in call.keywords:
            if keyword.arg == "key" and not self._is_seen_function(keyword.value):
                return False
        takes_function = isinstance(call.func, ast.Name) and call.func.id in ("map", "filter")
        return not takes_function or bool(call.args and self._is_seen_function(call.args[0]))

    def _is_seen_function(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Lambda):
            return True  # its body belongs to the statement and is judged with it
        if isinstance(node, ast.Name):
            return node.id in self._functions or (
                node.id in ("len", "abs", "sum", "str", "int") and node.id not in self._bound
            )
        return isinstance(node, ast.Constant) and node.value is None


def _expressions_of(statement: ast.stmt) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(statement):
        if name not in ("body", "orelse", "finalbody", "handlers", "cases"):
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, ast.AST):
                    yield item


def _mark(at: ast.stmt) -> ast.stmt:
    return ast.copy_location(mark(), at)
