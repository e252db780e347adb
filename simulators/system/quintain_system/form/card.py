"""The fidelity card that a package carries: how far its model may be trusted.

``quintain fidelity`` writes it. It is the word of whoever made the package; what is checked here is that it is about
this model in this system.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, ValidationError

from quintain.plugins.simulator import Fidelity, InvalidInput

CARD_FILE = "fidelity.json"
_FITTED = ("truth.toml", "recordings/")  # what tells that a model stands for something that was recorded
_WORST_FIRST = (Fidelity.FAILED, Fidelity.UNVERIFIED, Fidelity.VERIFIED)
_REASON_LENGTH = 300


class ModelCard(BaseModel):
    """What is read of a card; it holds more, for people."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    model: str  # sha256 (hex) of the model's source
    system: str  # of system.toml
    fidelity: Fidelity
    refused: list[str]
    untested: list[str]


def card_file(model_file: str) -> str:
    """``model.py`` -> ``fidelity.json``, ``models/second.py`` -> ``models/second.json``"""
    return CARD_FILE if "/" not in model_file else model_file.removesuffix(".py") + ".json"


def fidelity_of(
    files: Mapping[str, bytes], model_files: Sequence[str], system_file: str
) -> tuple[Fidelity | None, str]:
    """How far the package's models are to be trusted, all of them, and in a line why no further. None for a package
    that is its own truth: it has neither recordings nor a card. Raises InvalidInput for a card that is none."""
    each = [(_fidelity_of(files, model, system_file), model) for model in model_files]
    said = [(fidelity, reason, model) for (fidelity, reason), model in each if fidelity is not None]
    if not said:
        return None, ""
    fidelity, reason, model = min(said, key=lambda one: _WORST_FIRST.index(one[0]))
    return fidelity, f"{model}: {reason}" if reason and len(each) > 1 else reason


def _fidelity_of(files: Mapping[str, bytes], model_file: str, system_file: str) -> tuple[Fidelity | None, str]:
    card_name = card_file(model_file)
    if card_name in files:
        try:
            card = ModelCard.model_validate_json(files[card_name])
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "it"
            message = f"is no fidelity card: {where}: {first['msg']}; `quintain fidelity` writes one"
            raise InvalidInput(card_name, message) from None
        for file, digest in ((model_file, card.model), (system_file, card.system)):
            if hashlib.sha256(files.get(file, b"")).hexdigest() != digest:
                return Fidelity.UNVERIFIED, f"the card is of another {file}: `quintain fidelity` makes a new one"
        why = card.refused if card.fidelity is Fidelity.FAILED else card.untested
        more = f" (and {len(why) - 1} more)" if len(why) > 1 else ""
        return card.fidelity, f"{why[0][:_REASON_LENGTH]}{more}" if why else ""
    if CARD_FILE in files or any(file.startswith(_FITTED) for file in files):
        return Fidelity.UNVERIFIED, "the model has no fidelity card: `quintain fidelity` makes one"
    return None, ""
