"""One loader for all plug-ins: lazy, one at a time, and a broken guest hurts only itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from quintain.plugins import doors
from quintain.plugins.loading import Door, PluginError, UnknownPlugin

BROKEN = Path(__file__).parents[2] / "support/broken_plugins"
GROUP = "quintain.things"


def door(*entries: tuple[str, str]) -> Door[object]:
    found = [EntryPoint(name, value, GROUP) for name, value in entries]
    return Door(GROUP, "thing", lambda loaded: "" if isinstance(loaded, float) else "is no float", lambda group: found)


def test_a_plugin_is_loaded_when_it_is_asked_for_and_only_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loaded_late.py").write_text("value = 1.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    things = door(("late", "loaded_late:value"))
    assert things.names() == ("late",)
    assert "loaded_late" not in sys.modules
    assert things.load("late") == 1.5


def test_a_broken_guest_hurts_only_itself_and_is_listed_with_its_reason() -> None:
    things = door(("pi", "math:pi"), ("gone", "no_such_module:x"), ("word", "math:sqrt"), ("quits", "this_file:x"))
    assert things.load("pi") == pytest.approx(3.14159, abs=1e-5)
    reasons = things.listing()
    assert reasons["pi"] == ""
    assert "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'" in reasons["gone"]
    assert "cannot be used: it is no float" in reasons["word"]
    with pytest.raises(PluginError, match=r"the thing 'word' .math:sqrt of an unknown distribution. cannot be used"):
        things.load("word")


def test_a_plugin_that_lacks_a_library_of_an_extra_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_a_library.py").write_text("import openai\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "openai", None)  # as if it were not installed
    (reason,) = door(("gpt", "needs_a_library:x")).listing().values()
    assert reason == "the thing 'gpt' cannot be used: openai is not installed: pip install 'quintain[llm]'"


def test_a_guest_that_ends_the_process_at_import_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quits_at_import.py").write_text("import sys\nsys.exit('bye')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "SystemExit: bye" in door(("quits", "quits_at_import:x")).listing()["quits"]


def test_two_wheels_that_claim_one_name_are_both_named() -> None:
    things = door(("pi", "math:pi"), ("pi", "cmath:pi"), ("e", "math:e"))
    assert "offered twice (math:pi of an unknown distribution and cmath:pi of" in things.listing()["pi"]
    assert things.load("e")


def test_one_distribution_seen_twice_on_the_path_is_one() -> None:
    assert door(("pi", "math:pi"), ("pi", "math:pi")).listing() == {"pi": ""}


def test_an_unknown_name_is_answered_with_the_installed_ones() -> None:
    with pytest.raises(UnknownPlugin, match="no thing 'tau' is installed; installed are: e, pi"):
        door(("pi", "math:pi"), ("e", "math:e")).load("tau")
    with pytest.raises(UnknownPlugin, match="installed are: none"):
        door().load("tau")


def test_what_was_installed_after_the_start_is_said_to_need_a_restart() -> None:
    entries = [EntryPoint("pi", "math:pi", GROUP)]
    things: Door[object] = Door(GROUP, "thing", lambda loaded: "", lambda group: entries)
    assert things.names() == ("pi",)
    entries.append(EntryPoint("tau", "math:tau", GROUP))
    with pytest.raises(UnknownPlugin, match="'tau' was installed after this process had started: restart it"):
        things.load("tau")


@pytest.fixture
def broken_wheel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(BROKEN)
    yield
    for name in [name for name in sys.modules if name.startswith("broken_wheel")]:
        del sys.modules[name]


@pytest.mark.usefixtures("broken_wheel")
@pytest.mark.parametrize(
    ("own", "healthy", "reasons"),
    [
        (
            doors.SIMULATORS,
            "faas",
            {"breaks-at-import": "Simulatorr", "not-a-simulator": "is a class; the entry"},
        ),
        (doors.BACKENDS, "offline", {"breaks-at-import": "Simulatorr"}),
        (doors.STRATEGIES, "evolve", {"breaks-at-import": "Simulatorr", "class-not-instance": "is a class; the entry"}),
        (doors.PICTURES, "faas", {"faas-broken": "is no function"}),
        (doors.EXPORTS, "eudoxia", {"breaks-at-import": "Simulatorr"}),
    ],
    ids=lambda value: value.noun if isinstance(value, Door) else None,
)
def test_beside_a_broken_wheel_every_door_still_opens(own: Door[object], healthy: str, reasons: dict[str, str]) -> None:
    fresh: Door[object] = Door(own.group, own.noun, own._check)
    listing = fresh.listing()
    assert listing[healthy] == ""
    for name, reason in reasons.items():
        assert reason in listing[name]
        assert "of broken 1.0" in listing[name]
