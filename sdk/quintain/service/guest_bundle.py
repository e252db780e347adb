"""One source text of an installed guest module, for a verifier that does not have it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from quintain.plugins.simulator import SimulatorFault

# Imports the guest in a fresh interpreter and lists what came along and is not the standard library.
_LIST = """
import importlib, json, sys
known = set(sys.modules)
importlib.import_module(sys.argv[1])
found = {}
for name, module in sorted(sys.modules.items()):
    if name in known or name.partition(".")[0] in sys.stdlib_module_names:
        continue
    found[name] = [getattr(module, "__file__", None) or "", hasattr(module, "__path__")]
print(json.dumps(found))
"""

_BUNDLE = '''\
"""The guest module {name}, made from its files."""
import sys
_MODULES = {modules}

class _Bundled:
    def find_spec(self, name, path=None, target=None):
        if name in _MODULES:  # the class without importing it: importlib may be out of reach in a sandbox
            return type(sys.__spec__)(name, self, is_package=_MODULES[name][0])

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(compile(_MODULES[module.__name__][1], module.__name__, "exec"), module.__dict__)

_before = {{_name: sys.modules.pop(_name) for _name in _MODULES if _name in sys.modules}}
sys.meta_path.insert(0, _Bundled())
from {name} import load
if _before and not globals().get("OWN_PROCESS"):  # in a shared process its modules of these names stay its own
    del sys.meta_path[0]
    _own = {{_name: sys.modules[_name] for _name in _MODULES if _name in sys.modules}}
    _bundled_load = load

    def load(source, setup, query):
        """What the source imports as it is loaded are the bundled modules."""
        sys.modules.update(_own)
        try:
            return _bundled_load(source, setup, query)
        finally:
            for name in _own:
                del sys.modules[name]
            sys.modules.update(_before)

    for _name in _own:
        del sys.modules[_name]
    sys.modules.update(_before)
'''


def bundle_guest(name: str) -> str:
    """The guest module with everything of its own that it imports. Raises SimulatorFault if it is not pure Python or
    cannot be imported by itself."""
    listed = subprocess.run([sys.executable, "-c", _LIST, name], capture_output=True, text=True, timeout=60)
    if listed.returncode:
        raise SimulatorFault(f"guest module {name} cannot be imported: {listed.stderr.strip().splitlines()[-1]}")
    modules: dict[str, tuple[bool, str]] = {}
    for module, (file, is_package) in json.loads(listed.stdout).items():
        if file and not file.endswith(".py"):
            raise SimulatorFault(f"guest module {name} imports {module}, which is not Python source")
        modules[module] = (is_package, Path(file).read_text(encoding="utf-8") if file else "")
    return _BUNDLE.format(name=name, modules=repr(modules))
