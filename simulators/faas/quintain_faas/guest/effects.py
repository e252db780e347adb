"""Instrumenting a policy's source, so that its `journal` sees which calls change nothing.

If a call on an idle tick changed nothing, read nothing that changes from tick to tick and decided nothing, then
repeating it on an unchanged mirror gives the same again, so it need not be repeated until something observable changes.

What an expression does is asked for where it is done and cannot be told from the text: whom a call reaches, what is
iterated over. What a statement stores is noted before it does. Left alone is what is harmless whatever the values:
arithmetic, comparisons, reading attributes, calls of known builtins and of functions of the source itself (which are
instrumented too), and all that is done to lists and dicts that the function itself has made.
"""

from __future__ import annotations

import ast

from quintain_faas.guest import known
from quintain_faas.guest.guard import bound_names, parse
from quintain_faas.guest.iterators import living_iterators
from quintain_faas.guest.journal import Journal
from quintain_faas.guest.own_objects import OwnObjects, own_nodes
from quintain_faas.guest.refusals import refuse

_TIME_MODULES = frozenset({"time", "datetime"})
_DISPLAYS = (
    ast.Constant, ast.List, ast.Dict, ast.Set, ast.Tuple, ast.ListComp, ast.DictComp, ast.SetComp, ast.JoinedStr,
)  # fmt: skip
_OWNER, _KEY, _VALUE = "__fx_owner__", "__fx_key__", "__fx_value__"


def instrument(source: str, filename: str) -> tuple[ast.Module, Journal]:
    """The instrumented module (line numbers stay) and the journal whose `names` it needs. Raises NotInstrumentable."""
    tree = parse(source)
    refuse(tree)
    bound = bound_names(tree)
    modules = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    modules |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    journal = Journal(
        filename,
        logs_tell_time=bool(modules & _TIME_MODULES),
        lists_alike=not tells_lists_apart(tree, bound),
    )
    instrumented = _Instrumenter(tree, bound).visit(tree)
    return ast.fix_missing_locations(instrumented), journal


def tells_lists_apart(tree: ast.Module, bound: set[str]) -> bool:
    """Whether the source may ask if two lists are the same object."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(ops=ops, comparators=comparators):
                for op, right in zip(ops, comparators, strict=True):
                    if isinstance(op, ast.Is | ast.IsNot) and not _is_no_list(right, bound):
                        return True
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                if name in ("id", "is_", "is_not") and not (isinstance(node, ast.Attribute) and name == "id"):
                    return True
    return False


def _is_no_list(node: ast.expr, bound: set[str]) -> bool:
    match node:
        case ast.Constant():
            return True
        case ast.Attribute(value=ast.Name(id="OperatorState" | "Priority" as name)):
            return name not in bound
        case _:
            return False


class _Instrumenter(ast.NodeTransformer):
    def __init__(self, tree: ast.Module, bound: set[str]) -> None:
        nodes = list(ast.walk(tree))
        functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
        stored = {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        arguments = {n.arg for n in nodes if isinstance(n, ast.arg)}
        imported = {
            (a.asname or a.name).split(".")[0]
            for n in nodes
            if isinstance(n, ast.Import | ast.ImportFrom)
            for a in n.names
        }
        captured = {n.name for n in nodes if isinstance(n, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and n.name}
        classes = {n.name for n in nodes if isinstance(n, ast.ClassDef)}
        decorated = {n.name for n in functions if n.decorator_list}
        # Functions of this source, surely.
        self._functions = {n.name for n in functions} - stored - arguments - imported - captured - classes - decorated
        self._imported = imported
        self._bound = bound
        self._iterators_live = living_iterators(tree, bound)
        self._default_dicts = any(
            getattr(n, "id", "") == "defaultdict"
            or getattr(n, "attr", "") == "defaultdict"
            or (isinstance(n, ast.alias) and n.name == "defaultdict")
            for n in nodes
        )
        self._own: OwnObjects | None = None  # of the function that is being visited
        self._shared: dict[str, str] = {}  # its global and nonlocal names

    # ------------------------------------------------------------------------------------------------------- scopes

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        node.args = self.visit(node.args)
        outer = self._own, self._shared
        rebound = {name for inner in ast.walk(node) if isinstance(inner, ast.Nonlocal) for name in inner.names}
        self._own = OwnObjects(node, rebound, self._bound)
        self._shared = {}
        for inner in own_nodes(node):
            if isinstance(inner, ast.Global | ast.Nonlocal):
                self._shared.update(dict.fromkeys(inner.names, type(inner).__name__))
        node.body = self._block(node.body)
        self._own, self._shared = outer
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        outer = self._own
        self._own = None  # its arguments may have the names of the function's own objects
        self.generic_visit(node)
        self._own = outer
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.stmt:
        outer = self._own, self._shared
        self._own, self._shared = None, {}
        self.generic_visit(node)
        self._own, self._shared = outer
        return node

    # --------------------------------------------------------------------------------------------------- statements

    def _block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for statement in body:
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                for name in ("body", "orelse", "finalbody"):
                    inner = getattr(statement, name, None)
                    if inner:
                        setattr(statement, name, self._block(inner))
                for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                    part.body = self._block(part.body)
            noted = self._noted(statement)
            made += [ast.copy_location(each, statement) for each in noted]
        return made

    def _expressions(self, statement: ast.stmt) -> ast.stmt:
        """Visit what is not a block inside it."""
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            visited: ast.stmt = self.visit(statement)
            return visited
        if isinstance(statement, ast.For):
            statement.iter = self._looped(statement.iter, statement.target)
            statement.target = self.visit(statement.target)
            return statement
        for name, value in ast.iter_fields(statement):
            if name in ("body", "orelse", "finalbody"):
                continue
            if name == "handlers":
                for handler in value:
                    handler.type = handler.type and self.visit(handler.type)
            elif name == "cases":
                for case in value:
                    case.guard = case.guard and self.visit(case.guard)
            elif isinstance(value, list):
                setattr(statement, name, [self.visit(v) if isinstance(v, ast.AST) else v for v in value])
            elif isinstance(value, ast.AST) and name != "annotation":
                setattr(statement, name, self.visit(value))
        if isinstance(statement, ast.Assign) and self._iterators_live:
            unpacks = any(isinstance(target, ast.Tuple | ast.List) for target in statement.targets)
            if unpacks and not isinstance(statement.value, _DISPLAYS):
                statement.value = _call("__fx_a__", statement.value)
        if isinstance(statement, ast.With):
            for item in statement.items:
                item.context_expr = _call("__fx_with__", item.context_expr)
        return statement

    def _noted(self, statement: ast.stmt) -> list[ast.stmt]:
        """The statement, visited, with what is to be said of it."""
        match statement:
            case ast.FunctionDef(decorator_list=[_, *_]) | ast.ClassDef():
                return [_effect(), self._expressions(statement)]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)) if self._are_pairs(
                targets, values
            ):
                names = [f"__fx_value{number}__" for number in range(len(values))]
                evaluated = [_set(name, self.visit(value)) for name, value in zip(names, values, strict=True)]
                stores = [self._store(target, name) for target, name in zip(targets, names, strict=True)]
                return [*evaluated, *(each for store in stores for each in store)]
            case ast.Assign(targets=targets, value=value) if any(map(self._is_noted, targets)):
                visited = self._expressions(statement)
                if any(isinstance(target, ast.Tuple | ast.List) for target in targets):
                    return [_effect(), visited]
                first = _set(_VALUE, statement.value)
                return [first, *(each for target in targets for each in self._store(target))]
            case ast.AnnAssign(target=target, value=ast.expr() as value) if self._is_noted(target):
                return [_set(_VALUE, self.visit(value)), *self._store(target)]
            case ast.AugAssign(target=target):
                return self._augmented(statement)
            case ast.Delete(targets=targets):
                return self._deletions(targets)
            case ast.For(target=target) if self._is_noted(target):
                return [_effect(), self._expressions(statement)]
            case ast.With(items=items) if any(i.optional_vars and self._is_noted(i.optional_vars) for i in items):
                return [_effect(), self._expressions(statement)]
            case ast.Import() | ast.ImportFrom():
                if {(a.asname or a.name).split(".")[0] for a in statement.names} & set(self._shared):
                    return [_effect(), statement]
        return [self._expressions(statement)]

    def _are_pairs(self, targets: list[ast.expr], values: list[ast.expr]) -> bool:
        """Whether as many values as targets are given one by one, and a store is to be noted."""
        parts = [*targets, *values]
        return (
            len(targets) == len(values)
            and not any(isinstance(part, ast.Starred | ast.Tuple | ast.List) for part in parts[: len(targets)])
            and not any(isinstance(part, ast.Starred) for part in values)
            and any(map(self._is_noted, targets))
        )

    def _is_noted(self, target: ast.expr) -> bool:
        """Whether a store to `target` may change what is not this call's own."""
        match target:
            case ast.Name(id=name):
                return name in self._shared
            case ast.Subscript(value=owner):
                return not self._is_own(owner)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return any(map(self._is_noted, parts))
            case ast.Starred(value=part):
                return self._is_noted(part)
            case _:
                return True

    def _store(self, target: ast.expr, value: str = _VALUE) -> list[ast.stmt]:
        """The store of the variable `value`, with a note before it."""
        loaded = ast.Name(value, ast.Load())
        match target:
            case ast.Name(id=name) if self._shared.get(name) == "Global":
                note = _call("__fx__.shared", ast.Constant(name))
                return [ast.Expr(note), ast.Assign([target], loaded)]
            case ast.Attribute(value=owner, attr=name):
                note = _call("__fx__.attribute", ast.Name(_OWNER, ast.Load()), ast.Constant(name))
                stored = ast.Attribute(ast.Name(_OWNER, ast.Load()), name, ast.Store())
                return [_set(_OWNER, self.visit(owner)), ast.Expr(note), ast.Assign([stored], loaded)]
            case ast.Subscript(value=owner, slice=key) if self._is_noted(target):
                names = ast.Name(_OWNER, ast.Load()), ast.Name(_KEY, ast.Load())
                note = _call("__fx__.item", *names)
                return [
                    _set(_OWNER, self.visit(owner)),
                    _set(_KEY, self.visit(key)),
                    ast.Expr(note),
                    ast.Assign([ast.Subscript(*names, ast.Store())], loaded),
                ]
            case _:
                noted = [_effect()] if self._is_noted(target) else []
                return [*noted, ast.Assign([self.visit(target)], loaded)]

    def _augmented(self, statement: ast.AugAssign) -> list[ast.stmt]:
        """``owner.x += value`` is ``t = owner.x; t += value; owner.x = t``, owner being evaluated once."""
        target = statement.target
        value = ast.Name(_VALUE, ast.Store())
        asked = ast.Expr(_call("__fx__.augmented", ast.Name(_VALUE, ast.Load())))
        added = ast.AugAssign(value, statement.op, self.visit(statement.value))
        match target:
            case ast.Name(id=name) if self._shared.get(name) != "Nonlocal":
                statement.value = added.value
                if self._is_own(target):
                    return [statement]
                asked = ast.Expr(_call("__fx__.augmented", ast.Name(name, ast.Load())))
                shared = [ast.Expr(_call("__fx__.shared", ast.Constant(name)))] if name in self._shared else []
                return [*shared, asked, statement]
            case ast.Attribute(value=owner, attr=name):
                kept = ast.Name(_OWNER, ast.Load())
                begin = [_set(_OWNER, self.visit(owner)), _set(_VALUE, ast.Attribute(kept, name, ast.Load()))]
                noted = [ast.Expr(_call("__fx__.attribute", kept, ast.Constant(name)))]
                end: ast.expr = ast.Attribute(kept, name, ast.Store())
            case ast.Subscript(value=owner, slice=key) if not self._is_own(owner):
                kept, at = ast.Name(_OWNER, ast.Load()), ast.Name(_KEY, ast.Load())
                begin = [
                    _set(_OWNER, self.visit(owner)),
                    _set(_KEY, self.visit(key)),
                    _set(_VALUE, _call("__fx_get__", kept, at)),
                ]
                noted = [ast.Expr(_call("__fx__.item", kept, at))]
                end = ast.Subscript(kept, at, ast.Store())
            case _:
                statement.value, statement.target = added.value, self.visit(target)
                own = isinstance(target, ast.Subscript)
                return [statement] if own else [_effect(), statement]
        return [*begin, asked, added, *noted, ast.Assign([end], ast.Name(_VALUE, ast.Load()))]

    def _deletions(self, targets: list[ast.expr]) -> list[ast.stmt]:
        made: list[ast.stmt] = []
        for target in targets:
            match target:
                case ast.Subscript(value=owner, slice=key) if self._is_noted(target):
                    touched = _call("__fx_touch__", self.visit(owner))
                    made.append(ast.Delete([ast.Subscript(touched, self.visit(key), ast.Del())]))
                case _:
                    made += [_effect()] if self._is_noted(target) else []
                    made.append(ast.Delete([self.visit(target)]))
        return made

    def _is_own(self, owner: ast.expr) -> bool:
        """Whether `owner` is an object that this very call made."""
        return self._own is not None and self._own.holds(owner)

    # --------------------------------------------------------------------------------------------------- expressions

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node.func:
            case ast.Name(id=name) if name in known.PURE_BUILTINS and name not in self._bound:
                return self._builtin(node, name)
            case ast.Name(id="type") if "type" not in self._bound and len(node.args) == 1:
                self.generic_visit(node)
            case ast.Name(id="getattr" | "setattr" | "hasattr" as name) if name not in self._bound:
                return self._reflection(node, name)
            case ast.Name(id=name) if name in self._functions:
                self.generic_visit(node)
            case ast.Attribute(value=owner, attr=name):
                return self._method(node, owner, name)
            case function:
                changes_list = isinstance(function, ast.Name) and _changes_list(node, function.id)
                self._visit_arguments(node, everything=True, changes_list=changes_list)
                node.func = _call("__fx_list__" if changes_list else "__fx_f__", self.visit(function))
        return node

    def _builtin(self, node: ast.Call, name: str) -> ast.expr:
        if name == "super":
            return node  # the compiler looks for the name
        for keyword in node.keywords:
            if name == "print" and keyword.arg == "file" and not isinstance(keyword.value, ast.Constant):
                keyword.value = _call("__fx__.unknown", keyword.value)
        self._visit_arguments(node, everything=name in known.CONSUMERS)
        return node

    def _reflection(self, node: ast.Call, name: str) -> ast.expr:
        """getattr and its like."""
        self.generic_visit(node)
        constant = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
        if name == "setattr":
            node.func = ast.Name("__fx_setattr__", ast.Load())
        elif name == "getattr" and not constant:
            node.func = ast.Name("__fx_getattr__", ast.Load())
        return node

    def _method(self, node: ast.Call, owner: ast.expr, name: str) -> ast.expr:
        root = owner
        while isinstance(root, ast.Attribute):
            root = root.value
        of_module = isinstance(root, ast.Name) and root.id in self._imported
        own = self._is_own(owner)
        changes_list = of_module and _changes_list(node, name)
        everything = of_module or name in known.CONSUMING_METHODS
        self._visit_arguments(node, everything=everything, changes_list=changes_list)
        if changes_list:
            node.func = _call("__fx_list__", self.visit(node.func))
        elif own:  # a list, dict, set or the like: its methods are known, and what they change is this call's own
            node.func = self.visit(node.func)
        else:
            node.func = _call("__fx_m__", self.visit(owner), ast.Constant(name))
        return node

    def _visit_arguments(self, node: ast.Call, *, everything: bool, changes_list: bool = False) -> None:
        """`everything`: what is handed over may be iterated over or called."""
        arguments: list[ast.expr] = []
        for number, argument in enumerate(node.args):
            if isinstance(argument, ast.Starred):
                arguments.append(self.visit_Starred(argument))
            elif changes_list and number == 0 and not self._is_own(argument):
                arguments.append(_call("__fx_touch__", self.visit(argument)))
            else:
                arguments.append(self._handed_over(argument) if everything else self.visit(argument))
        node.args = arguments
        for keyword in node.keywords:
            called = everything or keyword.arg in ("key", "default", "default_factory", None)
            keyword.value = self._handed_over(keyword.value) if called else self.visit(keyword.value)

    def _handed_over(self, node: ast.expr) -> ast.expr:
        """Visited, and asked whether iterating over it or calling it is harmless."""
        asked = not self._is_harmless_argument(node)
        visited: ast.expr = self.visit(node)
        return _call("__fx_a__", visited) if asked else visited

    def _iterated(self, node: ast.expr) -> ast.expr:
        if self._iterators_live:
            return self._handed_over(node)
        visited: ast.expr = self.visit(node)
        return visited

    def _looped(self, iterable: ast.expr, target: ast.expr) -> ast.expr:
        """The iterable of a loop; where iterators live on, one may be among the elements that are unpacked."""
        pairs = isinstance(iterable, ast.Call) and (
            getattr(iterable.func, "id", "") in ("enumerate", "zip") or getattr(iterable.func, "attr", "") == "items"
        )
        pairs = pairs or (isinstance(iterable, ast.ListComp | ast.GeneratorExp) and isinstance(iterable.elt, ast.Tuple))
        plain = isinstance(target, ast.Name) or (
            pairs and isinstance(target, ast.Tuple) and all(isinstance(part, ast.Name) for part in target.elts)
        )
        visited = self._iterated(iterable)
        return _call("__fx__.unknown", visited) if self._iterators_live and not plain else visited

    def _is_harmless_argument(self, node: ast.expr) -> bool:
        match node:
            case ast.Lambda() | ast.Compare() | ast.BinOp() | ast.UnaryOp():
                return True
            case ast.Name(id=name):
                return self._is_own(node) or name in self._functions
            case ast.Call(func=ast.Name(id="range" | "sorted" | "list" | "len" | "enumerate" | "zip" as name)):
                return name not in self._bound
            case _:
                return isinstance(node, _DISPLAYS)

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        noted = self._is_noted(node.target)
        node.iter = self._looped(node.iter, node.target)
        if noted:
            node.iter = _call("__fx__.unknown", node.iter)
        node.target = self.visit(node.target)
        node.ifs = [self.visit(test) for test in node.ifs]
        return node

    def visit_Starred(self, node: ast.Starred) -> ast.Starred:
        node.value = self._iterated(node.value) if isinstance(node.ctx, ast.Load) else self.visit(node.value)
        return node

    def visit_YieldFrom(self, node: ast.YieldFrom) -> ast.expr:
        node.value = self._iterated(node.value)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        node.left = self.visit(node.left)
        node.comparators = [
            self._iterated(right) if isinstance(op, ast.In | ast.NotIn) else self.visit(right)
            for op, right in zip(node.ops, node.comparators, strict=True)
        ]
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        own = self._is_own(node.value)
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load) and self._default_dicts and not own and not isinstance(node.slice, ast.Slice):
            return ast.copy_location(_call("__fx_get__", node.value, node.slice), node)
        return node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
        self.generic_visit(node)
        if node.target.id in self._shared:
            node.value = _call("__fx__.unknown", node.value)
        return node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return node  # annotations are never evaluated on a call

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.value = node.value and self.visit(node.value)
        return node


# ---------------------------------------------------------------------------------------------------------- small parts


def _call(function: str, *arguments: ast.expr) -> ast.Call:
    name, _, attribute = function.partition(".")
    called: ast.expr = ast.Name(name, ast.Load())
    if attribute:
        called = ast.Attribute(called, attribute, ast.Load())
    return ast.Call(called, list(arguments), [])


def _changes_list(call: ast.Call, name: str) -> bool:
    positional = bool(call.args) and not isinstance(call.args[0], ast.Starred)
    return name in known.LIST_CHANGERS and positional and all(keyword.arg == "key" for keyword in call.keywords)


def _set(name: str, value: ast.expr) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _effect() -> ast.stmt:
    return ast.Expr(_call("__fx__.effect"))
