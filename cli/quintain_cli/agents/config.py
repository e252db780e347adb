"""The configuration of `quintain mcp`: what an agent may use, and what all of it together may cost. A TOML file:

ledger = "agent.ledger"       # beside this file; what was spent, kept over restarts

[budget]                      # over the ledger's whole life
usd = 5.0
verifications = 500           # candidates of searches, and policies that the agent has verified itself
hours = 8.0                   # that searches run and verifications take, added up

[allowed]
backends = ["offline", "gpt"]

[[allowed.suites]]
simulator = "faas"
suite = "standard"            # a name, or a folder of one's own (relative to this file)
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quintain.errors import InvalidArgument


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BudgetTable(_Table):
    usd: float = Field(0.0, ge=0, le=1e6, description="Dollars; 0: only backends that cost nothing.")
    verifications: int = Field(ge=0, le=10**9)
    hours: float = Field(ge=0, le=1e6)


class SuiteTable(_Table):
    simulator: str = Field(min_length=1)
    suite: str = Field(min_length=1)


class AllowedTable(_Table):
    backends: tuple[str, ...] = Field(min_length=1)
    suites: tuple[SuiteTable, ...] = Field(min_length=1)


class AgentsConfig(_Table):
    budget: BudgetTable
    allowed: AllowedTable
    ledger: Path = Path("agent.ledger")


def read_config(path: Path) -> AgentsConfig:
    """The configuration, with the ledger's and the suites' paths made absolute. Raises InvalidArgument with the key."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgument.of("config", f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument.of("config", f"{path} is not TOML: {error}") from None
    try:
        config = AgentsConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InvalidArgument.of("config", f"{path}: {key}: {first['msg']}") from None
    folder = path.absolute().parent
    suites = tuple(table.model_copy(update={"suite": _found(folder, table.suite)}) for table in config.allowed.suites)
    allowed = config.allowed.model_copy(update={"suites": suites})
    return config.model_copy(update={"ledger": folder / config.ledger, "allowed": allowed})


def _found(folder: Path, suite: str) -> str:
    """A path that is the same from everywhere, for a folder or a file of one's own; a name as it is."""
    own = suite.startswith((".", "/")) or suite.endswith(".toml") or (folder / suite / "suite.toml").is_file()
    return str(folder / suite) if own else suite
