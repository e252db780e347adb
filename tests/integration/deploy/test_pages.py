"""What the pages name exists: links, paths, make targets, commands with their options. Their examples run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quintain_cli.command_table import COMMANDS, load_command
from quintain_faas.plugin import simulator

ROOT = Path(__file__).resolve().parents[3]
PAGES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()
]  # fmt: skip
FOLDERS = "benchmarks|deploy|docs|examples|proto|scripts|sdk|services|simulators|tests"


def typed(page: Path) -> Iterator[str]:
    """Every line of a block and everything in backticks: what a reader may type."""
    fenced = re.split(r"^ *```.*$", page.read_text(), flags=re.MULTILINE)
    for block in fenced[1::2]:
        yield from (line.strip().removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines())
    for text in fenced[0::2]:
        yield from (line.strip() for line in text.splitlines() if line.startswith("    "))
        yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text))


def all_typed() -> Iterator[tuple[str, str]]:
    """Page and text."""
    for page in PAGES:
        for text in typed(page):
            yield str(page.relative_to(ROOT)), text


def test_links_lead_somewhere() -> None:
    wrong = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if "://" in link:
                continue
            if not target.exists() or (anchor and anchor not in anchors(target)):
                wrong.append((page.name, link))
    assert wrong == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_paths_exist() -> None:
    path = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./*-]+)")
    wrong = [
        (page, found)
        for page, text in all_typed()
        for found in path.findall(text)
        if not any(ROOT.glob(found.rstrip("./"))) and "/own" not in found  # the reader makes that one
    ]
    assert wrong == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [(page, target) for page, text in all_typed() for target in re.findall(r"^make ([a-z-]+)", text)]
    assert named
    assert [(page, target) for page, target in named if target not in targets] == []


def test_commands_and_their_options_exist() -> None:
    commands: dict[str, Any] = {name: load_command(name) for name in COMMANDS}
    wrong = []
    for page, text in all_typed():
        line = re.match(r"(?:\.venv/bin/)?quintain (\w[\w-]*)(.*)", text.split(" # ")[0].split("|")[0])
        if line is None:
            continue
        command, words = commands.get(line[1]), shlex.split(line[2])
        if words and words[0] in getattr(command, "commands", {}):  # `quintain trace import`
            command = command.commands[words[0]]
        parameters = command.params if command else []
        known = {"--help"} | {option for p in parameters for option in (*p.opts, *p.secondary_opts)}
        options = {word.split("=")[0] for word in words if word.startswith("-")}
        if line[1] not in commands or not options <= known:
            wrong.append((page, text))
    assert wrong == []


def test_modules_exist() -> None:
    wrong = []
    for page, text in all_typed():
        for module in re.findall(r"python3? -m ((?:benchmarks|tests|scripts)[\w.]*)", text):
            path = ROOT / module.replace(".", "/")
            if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists()):
                wrong.append((page, module))
    assert wrong == []


def test_the_readmes_example_of_the_simulator_as_a_library_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?quintain_faas.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    source = next(b.source for b in simulator.describe().baselines if b.name == "fifo")
    (tmp_path / "policy.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    throughput, failure = capsys.readouterr().out.split(maxsplit=1)
    assert float(throughput) > 0
    assert failure.strip() == "None"
