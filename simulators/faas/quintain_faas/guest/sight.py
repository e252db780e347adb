"""Whether a policy could look at the messages of the engine, beside what the mirror shows.

Idle ticks can be granted many at a time, which makes calling a policy on every tick cheap; but how many are granted
says when the next event comes. So only a policy gets such grants that has no way to see one: it names no frame, no
attribute of Python's machinery and no module but the harmless parts of some, and reaches none of these by a name made
up at run time. What is not understood is no proof.
"""

from __future__ import annotations

import ast
import re

# Of these modules a policy may use these names. Modules may be used by their names alone (``math.ceil``), since most
# hold other modules as attributes.
_NAMES: dict[str, str] = {
    "__future__": "annotations",
    "abc": "ABC abstractmethod",
    "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
    "collections": "ChainMap Counter OrderedDict defaultdict deque namedtuple",
    "collections.abc": "Callable Collection Generator Iterable Iterator Mapping MutableMapping Sequence Set",
    "contextlib": "nullcontext suppress",
    "dataclasses": "asdict astuple dataclass field fields replace",
    "decimal": "Decimal",
    "enum": "Enum Flag IntEnum IntFlag StrEnum auto unique",
    "fractions": "Fraction",
    "functools": "cache cached_property cmp_to_key lru_cache partial reduce total_ordering wraps",
    "heapq": "heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest",
    "itertools": "accumulate chain combinations compress count cycle dropwhile filterfalse groupby islice pairwise "
    "permutations product repeat starmap takewhile zip_longest",
    "json": "dumps loads",
    "logging": "CRITICAL DEBUG ERROR INFO Logger NullHandler WARNING debug error getLogger info warning",
    "math": "ceil comb copysign e erf exp fabs floor fmod fsum gcd hypot inf isclose isfinite isinf isnan lcm log "
    "log10 log1p log2 nan perm pi pow prod sqrt tau trunc",
    "numbers": "Integral Number Real",
    "operator": "add and_ contains eq floordiv ge gt itemgetter le lt mod mul ne neg not_ or_ sub truediv xor",
    "random": "Random choice choices gauss randint random randrange sample seed shuffle uniform",
    "re": "IGNORECASE Match Pattern compile escape findall finditer fullmatch match search split sub",
    "statistics": "fmean geometric_mean harmonic_mean mean median median_high median_low mode pstdev pvariance "
    "quantiles stdev variance",
    "string": "ascii_letters ascii_lowercase ascii_uppercase digits punctuation",
    "sys": "float_info maxsize",
    "time": "monotonic perf_counter process_time time",
    "typing": "Any Callable ClassVar Collection Counter DefaultDict Deque Dict Final FrozenSet Generator Generic "
    "Iterable Iterator List Literal Mapping MutableMapping NamedTuple NewType Optional Protocol Sequence "
    "Set TYPE_CHECKING Tuple Type TypeVar TypedDict Union cast",
    "uuid": "UUID uuid4",
}
_ALLOWED = {module: frozenset(names.split()) for module, names in _NAMES.items()}
_FRAMES = frozenset(
    {"ag_frame", "cr_frame", "cr_origin", "f_back", "f_builtins", "f_code", "f_globals", "f_lasti", "f_lineno",
     "f_locals", "f_trace", "gi_code", "gi_frame", "gi_yieldfrom", "mro", "tb_frame", "tb_lasti", "tb_lineno",
     "tb_next", "with_traceback"}
)  # fmt: skip
_HARMLESS_DUNDERS = frozenset(
    {"__add__", "__and__", "__bool__", "__call__", "__class__", "__contains__", "__doc__", "__enter__", "__eq__",
     "__exit__", "__float__", "__ge__", "__getitem__", "__gt__", "__hash__", "__iadd__", "__init__", "__int__",
     "__iter__", "__le__", "__len__", "__lt__", "__members__", "__mul__", "__name__", "__ne__", "__new__", "__next__",
     "__or__", "__post_init__", "__qualname__", "__repr__", "__setitem__", "__slots__", "__str__", "__sub__"}
)  # fmt: skip
_FORBIDDEN_NAMES = frozenset(
    {"attrgetter", "breakpoint", "compile", "delattr", "dir", "eval", "exec", "globals", "help", "input", "locals",
     "memoryview", "methodcaller", "open", "vars"}
)  # fmt: skip
_BY_NAME = frozenset({"getattr", "hasattr", "setattr"})
_TELLING = re.compile(
    "__|" + "|".join(sorted(_FRAMES - {"mro"})) + r"|\bmro\b"
)  # in a text, where it may be a name in disguise


class _Seen(Exception):
    """It cannot be excluded."""


def sees_only_the_mirror(tree: ast.Module) -> bool:
    """Whether the source provably has no way to a message. True is trustworthy only before any of it has run."""
    try:
        _Check(tree).visit(tree)
    except _Seen:
        return False
    return True


class _Check(ast.NodeVisitor):
    def __init__(self, tree: ast.Module) -> None:
        self._modules: dict[str, str] = {}  # name in the source -> module
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._import(alias)

    def _import(self, alias: ast.alias) -> None:
        root = alias.name.split(".")[0]
        if root == "eudoxia":
            return
        if alias.name not in _ALLOWED or ("." in alias.name and not alias.asname):
            raise _Seen
        name = alias.asname or alias.name
        if self._modules.setdefault(name, alias.name) != alias.name:
            raise _Seen

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or (node.module or "").split(".")[0] == "eudoxia":
            names: frozenset[str] | None = None
        else:
            names = _ALLOWED.get(node.module or "")
            if names is None:
                raise _Seen
        for alias in node.names:
            _check_attribute(alias.name)
            if alias.name == "*" or (names is not None and alias.name not in names):
                raise _Seen

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and node.value.id in self._modules:
            if not isinstance(node.ctx, ast.Load) or node.attr not in _ALLOWED[self._modules[node.value.id]]:
                raise _Seen
            return  # the module's name itself is fine here, and nowhere else
        _check_attribute(node.attr)
        formats = node.attr in ("format", "format_map")
        if formats and not isinstance(node.value, ast.Constant):
            raise _Seen  # a format can walk along attributes; constant ones are looked at below
        self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        name = node.id
        if name in self._modules or name in _FORBIDDEN_NAMES or name in _BY_NAME:
            raise _Seen
        if name.startswith("__") and name != "__name__":
            raise _Seen

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in _BY_NAME:
            if len(node.args) < 2 or not isinstance(node.args[1], ast.Constant) or node.keywords:
                raise _Seen
            _check_attribute(str(node.args[1].value))
            for argument in node.args:
                self.visit(argument)
            return
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str | bytes) and _TELLING.search(str(node.value)):
            raise _Seen

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        for name in node.kwd_attrs:
            _check_attribute(name)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        _check_attribute(node.name)
        self._check_binding(node.name)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._check_binding(node.name)
        if node.keywords:
            raise _Seen  # a metaclass
        self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> None:
        self._check_binding(node.arg)
        self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        raise _Seen

    def _check_binding(self, name: str) -> None:
        if name in self._modules or name in _BY_NAME:
            raise _Seen


def _check_attribute(name: str) -> None:
    if name in _FRAMES or (name.startswith("__") and name not in _HARMLESS_DUNDERS):
        raise _Seen
