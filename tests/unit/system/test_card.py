"""What a package's fidelity card makes of its verdicts: verified only with a card of this model, passed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.systems import MODEL, SYSTEM, package

from quintain.clients.suite_files import read_suite
from quintain.plugins.simulator import Fidelity, InvalidInput
from quintain_system.form.package import read_package

NEW = "`quintain fidelity` makes"


def card(fidelity: str = "verified", source: str = MODEL, **changed: Any) -> str:
    digests = {"model": hashlib.sha256(source.encode()), "system": hashlib.sha256(SYSTEM.encode())}
    said = {name: digest.hexdigest() for name, digest in digests.items()}
    return json.dumps({**said, "fidelity": fidelity, "refused": [], "untested": [], "parts": [], **changed})


def trust(**files: str | None) -> tuple[Fidelity | None, str]:
    found = read_package(package(**files))
    return found.fidelity, found.fidelity_reason


def test_a_system_that_is_its_own_truth_has_no_fidelity() -> None:
    assert trust() == (None, "")


@pytest.mark.parametrize("file", ["truth.toml", "recordings/monday.jsonl", "recordings/left_out"])
def test_a_model_of_something_recorded_is_unverified_without_a_card(file: str) -> None:
    assert trust(**{file: ""}) == (Fidelity.UNVERIFIED, f"the model has no fidelity card: {NEW} one")


def test_the_card_of_this_model_says_how_far_it_is_trusted() -> None:
    assert trust(**{"fidelity.json": card()}) == (Fidelity.VERIFIED, "")
    said = card("unverified", untested=["one policy in the log", "few windows"])
    assert trust(**{"fidelity.json": said}) == (Fidelity.UNVERIFIED, "one policy in the log (and 1 more)")
    said = card("failed", refused=["later: no nearer than replay"], untested=["few windows"])
    assert trust(**{"fidelity.json": said}) == (Fidelity.FAILED, "later: no nearer than replay")


def test_the_card_of_another_model_or_system_verifies_nothing() -> None:
    changed = MODEL.replace("time + seconds", "time + 2 * seconds")
    found = trust(**{"fidelity.json": card(), "model": changed})
    assert found == (Fidelity.UNVERIFIED, f"the card is of another model.py: {NEW} a new one")
    found = trust(**{"fidelity.json": card(), "system": SYSTEM.replace("min = 1", "min = 2")})
    assert found == (Fidelity.UNVERIFIED, f"the card is of another system.toml: {NEW} a new one")
    failed = trust(**{"fidelity.json": card("failed", refused=["tau"]), "model": changed})
    assert failed[0] is Fidelity.UNVERIFIED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it: Invalid JSON"),
        ("[]", "it: "),
        (card("trusted"), "fidelity: "),
        (json.dumps({"fidelity": "verified"}), "model: Field required"),
        (card(refused="nothing"), "refused: "),
    ],
)
def test_what_is_no_card_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=r"^fidelity\.json: is no fidelity card: ") as caught:
        trust(**{"fidelity.json": text})
    assert message in str(caught.value)


def test_recordings_stay_behind_and_that_there_are_some_is_sent(tmp_path: Path) -> None:
    for name, content in package(**{"recordings/monday.jsonl": "{}"}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    _, sent = read_suite(str(tmp_path))
    assert sent is not None
    assert {name: sent[name] for name in sent if name.startswith("recordings/")} == {"recordings/left_out": b""}
    assert read_package(sent).fidelity is Fidelity.UNVERIFIED
    _, whole = read_suite(str(tmp_path), simulator="fit")
    assert whole is not None
    assert [name for name in whole if name.startswith("recordings/")] == ["recordings/monday.jsonl"]
