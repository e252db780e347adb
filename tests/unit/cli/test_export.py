"""`quintain best --format eudoxia`: a file that needs nothing but Eudoxia's own modules."""

from __future__ import annotations

import ast
import builtins

from quintain_faas.export import registration_key, to_eudoxia
from quintain_faas.guest.names import Registry, namespace

BARE = '''\
"""Uses names that are only in scope here."""

from __future__ import annotations

def pick(pipeline: Pipeline) -> List[Operator]:
    return pipeline.runtime_status().get_ops(ASSIGNABLE_STATES)

@register_scheduler_init(key="mine")
def init(s):
    s.waiting: Dict[str, int] = {}
    s.order = [Priority.QUERY]

@register_scheduler("mine")
def step(s, results, pipelines):
    return [Suspend("c1", 0)], []
'''


def load_like_eudoxia(source: str) -> tuple[str, object]:
    """Execute a file where `eudoxia` can be imported and nothing else is in scope."""
    registry = Registry()
    importer = namespace(registry)["__builtins__"]["__import__"]
    scope = {"__name__": "mine", "__builtins__": {**vars(builtins), "__import__": importer}}
    exec(compile(source, "policy.py", "exec"), scope)
    key, _, step = registry.only_pair()
    return key, step(None, [], [])  # type: ignore[no-any-return]


def test_every_name_that_is_used_is_imported() -> None:
    text = to_eudoxia(BARE, ["Found by quintain"])
    key, (suspensions, assignments) = load_like_eudoxia(text)  # type: ignore[misc]
    assert key == "mine"
    assert (suspensions[0].container_id, assignments) == ("c1", [])


def test_the_header_says_where_it_comes_from_and_how_to_run_it() -> None:
    lines = to_eudoxia(BARE, ["Found by quintain, search s1"]).splitlines()
    assert lines[0] == "# Found by quintain, search s1"
    assert lines[1] == "# In Eudoxia: import this file, then run with scheduler_algo = 'mine'"


def test_docstring_and_future_imports_stay_first_and_the_program_is_the_same() -> None:
    tree = ast.parse(to_eudoxia(BARE, []))
    assert ast.get_docstring(tree) == "Uses names that are only in scope here."
    kept = [node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module != "__future__")]
    assert [ast.dump(node) for node in kept] == [ast.dump(node) for node in ast.parse(BARE).body]


def test_names_that_the_policy_imports_or_defines_itself_are_left_alone() -> None:
    source = "from eudoxia.utils import Priority\nclass Suspend: pass\nx = Priority, Suspend\n"
    assert to_eudoxia(source, []).count("import") == source.count("import") + 1  # the one in the comment


def test_a_key_that_eudoxia_has_already_is_replaced() -> None:
    text = to_eudoxia(BARE.replace('"mine"', '"priority"'), [])
    assert registration_key(ast.parse(text)) == "quintain-priority"
    assert load_like_eudoxia(text)[0] == "quintain-priority"
    assert "scheduler_algo = 'quintain-priority'" in text
