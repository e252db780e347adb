"""What people get wrong: each is answered by one clear line that says what and where, and what would be right. The
command line in this process, real services."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.e2e.conftest import Ran

from quintain_cli import app
from quintain_cli.stack.stack import Stack

pytestmark = pytest.mark.xdist_group("e2e")

POLICY = Path(__file__).parents[2] / "simulators/faas/quintain_faas/baselines/fifo.py"
ANSWER_SECONDS = 1.0  # for an address at which nobody listens


class Wrong:
    """The command line in a folder with files that are wrong in one way each, and a search that has ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.search = ""

    def __call__(self, line: str) -> Ran:
        arguments = [word.format(SEARCH=self.search, POLICY=POLICY) for word in line.split()]
        self._monkeypatch.setattr(sys, "argv", ["quintain", *arguments])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        captured = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, captured.out, captured.err)


SEARCHED: dict[str, str] = {}  # the one search of this process, by the controller's address


@pytest.fixture
def wrong(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wrong:
    for service, address in stack.addresses.items():
        monkeypatch.setenv(f"QUINTAIN_{service.upper()}", address)
    monkeypatch.setenv("QUINTAIN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("QUINTAIN_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("quintain_cli.connect._REACH_SECONDS", ANSWER_SECONDS)
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("mine.txt").write_text("my work\n")
    Path("binary.py").write_bytes(b"\xff\xfe\x00")
    Path("broken.toml").write_text("[run\n")
    Path("unknown_key.toml").write_text("[run]\nduratoin = 10\n")
    Path("trace.csv").write_text("a,b\n")
    quintain = Wrong(monkeypatch, capsys)
    if not SEARCHED:
        ran = quintain("search --suite smoke --candidates 2")
        assert ran.code == 0, ran.err
        SEARCHED["id"] = ran.out.split()[1].rstrip(":")
    quintain.search = SEARCHED["id"]
    return quintain


WRONG = {
    # commands and options
    "verfy": "Did you mean 'verify'?",
    "verify {POLICY} --siute smoke": "No such option: --siute",
    "verify --suite smoke": "Missing argument",
    "compare fifo priority": "Missing option '--suite'",
    "search --candidates ten": "Invalid value for '--candidates'",
    "search --candidates 0": "Invalid value for '--candidates'",
    "verify {POLICY} --suite smoke --seed -1": "Invalid value for '--seed'",
    "up --base-port 80": "Invalid value for '--base-port'",
    # files
    "verify nowhere.py --suite smoke": "policy: nowhere.py: No such file or directory",
    "verify folder --suite smoke": "policy: folder: Is a directory",
    "verify binary.py --suite smoke": "policy: binary.py: not UTF-8 text at byte 0",
    "simulate nowhere.py --scenario smoke_steady": "policy: nowhere.py: No such file or directory",
    "verify {POLICY} --scenario nowhere.toml": "scenario: nowhere.toml: No such file or directory",
    "verify {POLICY} --scenario broken.toml": "line 1",
    "verify {POLICY} --scenario unknown_key.toml": "duratoin",
    "verify {POLICY} --scenario smoke_steady --trace trace.csv": "a trace needs a scenario file",
    "verify {POLICY} --scenario broken.toml --trace nowhere.csv": "trace: nowhere.csv: No such file or directory",
    "search --candidates 1 --start nowhere.py": "policy: nowhere.py: No such file or directory",
    "best {SEARCH} --out mine.txt": "mine.txt exists already; --force overwrites it",
    "best {SEARCH} --out folder": "folder is a folder; name a file",
    "best {SEARCH} --out nowhere/best.py": "nowhere/best.py: No such file or directory",
    "report {SEARCH} --out mine.txt": "mine.txt exists already; --force overwrites it",
    "suites --token-file nowhere.txt": "nowhere.txt: No such file or directory",
    "suites --ca-file nowhere.pem": "nowhere.pem: No such file or directory",
    # names
    "verify {POLICY}": "name --suite (with --scenario NAME: some of it), --scenario NAME or FILE",
    "verify {POLICY} --suite nowhere": "paper-reference, standard, smoke",
    "verify {POLICY} --suite smok": "'smok' is unknown (did you mean 'smoke'?); known are: paper-reference, standard",
    "verify {POLICY} --suite my/suite": "'my/suite' is unknown",
    "verify {POLICY} --suite my/suite/": "my/suite: there is no such folder",
    "verify {POLICY} --suite smoke --simulator fass": "did you mean 'faas'?",
    "verify {POLICY} --suite smoke --scenario smoke_stead": "did you mean 'smoke_steady'?",
    "verify {POLICY} --scenario nowhere": "reference_burst10_seed10",
    "verify {POLICY} --suite smoke --simulator nowhere": "faas",
    "verify {POLICY} --suite smoke --objective nowhere": "throughput",
    "simulate {POLICY} --scenario smoke_stead": "did you mean 'smoke_steady'?",
    "simulate {POLICY} --scenario smoke_steady --simulator nowhere": "faas",
    "simulate {POLICY} --scenario smoke_steady --calling-mode nowhere": "nowhere",
    "simulate {POLICY} --scenario smoke_steady --objective nowhere": "nowhere",
    "compare fifo nowhere --suite smoke": "'nowhere' is neither a file nor a baseline; baselines are: fifo, priority",
    "suites nowhere": "nowhere",
    "check-simulator nowhere": "faas",
    "best {SEARCH} --format nowhere": "nowhere",
    # searches
    "search": "give at least one of --candidates",
    "search --candidates 1 --suite nowhere": "nowhere",
    "search --candidates 1 --simulator nowhere": "nowhere",
    "search --candidates 1 --strategy evolv": "did you mean 'evolve'?",
    "search --candidates 1 --backend offlin": "did you mean 'offline'?",
    "search --candidates 1 --option islands": "option: 'islands' is not key=value",
    "search --candidates 1 --option populaton=1": "did you mean 'population'?",
    "search --resume nowhere": "nowhere",
    "show nowhere": "nowhere",
    "show {SEARCH} 999": "has no candidate 999; it has 3, from 0",
    "prompt {SEARCH} 0": "candidate: 0 was not generated",
    "watch nowhere": "nowhere",
    "pause {SEARCH}": "ended",
    "extend {SEARCH} --candidates 1": "candidates",
    "extend {SEARCH}": "name at least one bound to raise",
    "fork {SEARCH} 999 --candidates 1": "has no candidate 999",
    "delete nowhere --yes": "nowhere",
    "ablate --strategy evolve --candidates 1": "name at least two",
    "ablate --strategy evolve --strategy nowhere --candidates 1": "'nowhere' is unknown",
    "ablate --strategy evolve --strategy chain --candidates 1 --resume nowhere": "no search belongs to an ablation",
    # places
    "suites --address nonsense": "address: 'nonsense' is not host:port",
    "suites --address localhost:1": "no verifier answers at localhost:1",
}


def test_there_are_forty_and_more() -> None:
    assert len(WRONG) >= 40


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_input_is_answered_by_one_clear_line(wrong: Wrong, line: str) -> None:
    ran = wrong(line)
    assert ran.code == 2, ran
    assert "Traceback" not in ran.err
    assert ran.out == ""
    told = [text for text in ran.err.splitlines() if text.lower().startswith("error:")]
    assert len(told) == 1, ran.err
    assert WRONG[line] in told[0]
