"""What the small install says of what it lacks; and the images' dependencies against the wheel's."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.conftest import Run

from quintain.errors import FailedPrecondition
from quintain.extras import EXTRAS, install_hint
from quintain_cli.report import check_plotly

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
POLICY = Path(__file__).parents[3] / "simulators/faas/quintain_faas/baselines/fifo.py"


def requirements(group: str) -> set[str]:
    found: set[str] = set()
    entries: list[Any] = PROJECT["dependency-groups"][group]
    for entry in entries:
        found |= {entry} if isinstance(entry, str) else requirements(entry["include-group"])
    return found


def test_without_plotly_a_figure_is_refused_before_the_work_is_done(
    quintain: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setattr("quintain_cli.report.find_spec", lambda _name: None)
    with pytest.raises(FailedPrecondition, match=r"pip install 'quintain\[viz\]'"):
        check_plotly()
    picture = str(tmp_path / "p.html")
    ran = quintain("simulate", str(POLICY), "--scenario", "smoke_steady", "--picture", picture)
    assert (ran.code, "quintain[viz]" in ran.err, ran.out) == (2, True, "")


def test_a_hint_names_an_extra_that_brings_the_library() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    for library, extra in EXTRAS.items():
        assert any(one.startswith(library.replace(".", "-")) for one in extras[extra]), library
    assert install_hint("openai.types") == "openai is not installed: pip install 'quintain[llm]'"
    assert install_hint("openai_other") == install_hint("numpy") == install_hint(None) == ""


@pytest.mark.parametrize("image", ["verifier", "generator", "controller", "cli"])
def test_an_image_installs_what_the_wheel_asks_for_in_the_same_versions(image: str) -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    known = {
        *PROJECT["project"]["dependencies"],
        *(one for name, extra in extras.items() if name != "dev" for one in extra),
    }
    assert requirements(f"{image}-image") <= known


def test_no_image_can_import_what_it_has_no_use_for() -> None:
    names = {
        image: {one.partition(">")[0].partition("[")[0] for one in requirements(f"{image}-image")}
        for image in ("verifier", "generator", "controller", "cli")
    }
    assert not names["verifier"] & {"openai", "anthropic", "alembic", "typer", "plotly"}
    assert not names["generator"] & {"numpy", "typer", "plotly"}
    assert not names["controller"] & {"openai", "anthropic", "numpy", "typer", "plotly", "libcst"}
    assert not names["cli"] & {"openai", "anthropic", "sqlalchemy", "numpy"}
