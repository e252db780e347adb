"""A model of a recorded system written by a language model: its answers, recorded once, fit it again without a key."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.e2e.conftest import Ran, clean_environment, run
from tests.e2e.test_recordings import counter

KEY = "sk-written-models-0123456789"
FIT = ("--backend", "tape", "--strategy", "tree", "--candidates", "5")
# As language models answer: the first guesses the wrong law of times, the second mends that and nothing else.
WHOLE = """\
Jobs wait for a decision, each takes one of `slots` slots from `start` on, and `done` follows `started` after the time
that the job needs. I take that time to be uniform, from nothing to twice a mean to be calibrated: the one number of
the draft has no spread.

```python
import heapq

from quintain_system import Event, Parameter, Rejected

PARAMETERS = {"mean_seconds": Parameter(0.1, 5.0, "s")}


class Model:
    def __init__(self, config, parameters, random):
        self.p, self.random = parameters, random
        self.free = config.slots
        self.waiting = set()
        self.due = []  # (time, order, job, whether it is done)
        self.order = 0

    def on_input(self, time, job):
        self.waiting.add(job.id)

    def on_decision(self, time, start):
        if start.job not in self.waiting:
            raise Rejected("not_waiting", f"job {start.job} does not wait")
        if self.free == 0:
            raise Rejected("no_slot", "every slot is taken")
        self.waiting.discard(start.job)
        self.free -= 1
        self.plan(time, start.job, False)

    def plan(self, time, job, done):
        self.order += 1
        heapq.heappush(self.due, (time, self.order, job, done))

    def next_event_time(self):
        return self.due[0][0] if self.due else None

    def advance(self, time):
        _, _, job, done = heapq.heappop(self.due)
        if done:
            self.free += 1
            return [Event("done", job=job)]
        seconds = self.random.uniform(0.0, 2.0 * self.p.mean_seconds)
        self.plan(time + seconds, job, True)
        return [Event("started", job=job)]

    def observe(self):
        return {"free": self.free}
```
"""
CHANGE = """\
The feedback says that `done` comes too soon, and too little is held: long jobs are missing. A memoryless time with the
same mean is the simplest law that has them.

<<<<<<< SEARCH
PARENTS_LINE
=======
        seconds = self.random.expovariate(1.0 / self.p.mean_seconds)
>>>>>>> REPLACE
"""


DRAFT = WHOLE.partition("```python\n")[2].partition("```")[0].replace("self.random.uniform(0.0, 2.0 * self.p.mean_seconds)", "self.p.mean_seconds")  # fmt: skip  # noqa: E501


class Provider(BaseHTTPRequestHandler):
    """Speaks the protocol of OpenAI: a change where one is asked for, else the whole model."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = body["messages"][-1]["content"]
        text = WHOLE
        if "Improve the parent by a change" in asked:
            parents_line = next(line for line in reversed(asked.splitlines()) if "seconds = self." in line)
            text = CHANGE.replace("PARENTS_LINE", parents_line)
        message = {"role": "assistant", "content": text}
        answer = {
            "id": "answer",
            "object": "chat.completion",
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
        }
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


def fitted(folder: Path, package: Path, recording: Path, inner: str = "") -> Ran:
    """`quintain fit` with services and a configuration of its own."""
    environment = clean_environment(folder)
    configuration = folder / "config" / "quintain"
    configuration.mkdir(parents=True)
    mode = "record" if inner else "play"
    text = f'[backends.tape]\nkind = "replay"\n[backends.tape.options]\nmode = "{mode}"\nfolder = "{recording}"\n'
    (configuration / "generator.toml").write_text(text + inner, encoding="utf-8")
    draft = folder / "draft.py"
    draft.write_text(DRAFT, encoding="utf-8")
    target = str(folder / "model.py")
    return run(environment, "fit", str(package), *FIT, "--start", str(draft), "--out", target, seconds=600)


@pytest.mark.timeout(900)
def test_recorded_answers_fit_a_model_that_was_mended_by_a_change(tmp_path: Path, provider: str) -> None:
    truth, package = counter(tmp_path / "counter"), tmp_path / "log"
    policies = ("--policy", "fifo", "--policy", "last_first")
    ran = run(clean_environment(tmp_path / "truth"), "record", "--suite", str(truth), *policies, "--out", str(package))
    assert ran.code == 0, ran.err
    key, recording = tmp_path / "key", tmp_path / "answers"
    key.write_text(KEY)
    inner = (
        '[backends.tape.options.inner]\nkind = "openai-compatible"\nmodel = "a-model"\n'
        f'[backends.tape.options.inner.options]\nbase_url = "{provider}"\napi_key_file = "{key}"\nstream = false\n'
    )
    recorded = fitted(tmp_path / "first", package, recording, inner)
    assert recorded.code == 0, recorded.err
    model = (tmp_path / "first" / "model.py").read_text(encoding="utf-8")
    assert "expovariate(1.0 / self.p.mean_seconds)" in model
    assert "class Model:" in model
    assert "'mean_seconds': _calibrated(" in model
    exchanges = [file.read_text(encoding="utf-8") for file in recording.iterdir()]
    assert any("SEARCH" in exchange and "long jobs are missing" in exchange for exchange in exchanges)
    assert not any(KEY in exchange for exchange in exchanges)

    key.unlink()
    played = fitted(tmp_path / "second", package, recording)
    assert played.code == 0, played.err
    again = (tmp_path / "second" / "model.py").read_text(encoding="utf-8")
    assert again.partition("import heapq")[2] == model.partition("import heapq")[2]
    assert "mean_seconds = " in played.out
