"""Models that loop, lie, break invariants, turn time back, grow, fork, read or answer nonsense: each is the model's own
failure, with its line where there is one; never the policy's, never a verdict that is kept."""

from __future__ import annotations

import pytest
from tests.support.systems import MODEL, POLICY, package, suite_files

from quintain.clients.verifier import Verifier
from quintain.errors import Internal
from quintain.type.v1 import type_pb2
from quintain.verifier.v1 import verifier_pb2 as pb


def in_method(name: str, *lines: str) -> str:
    """The counter's model with lines put at the start of one of its methods."""
    head, found, rest = MODEL.partition(f"    def {name}(")
    assert found
    signature, newline, body = rest.partition("\n")
    return head + found + signature + newline + "".join(f"        {line}\n" for line in lines) + body


def line_in(source: str, text: str) -> int:
    return next(number for number, line in enumerate(source.splitlines(), start=1) if text in line)


def returning(line: str) -> str:
    """The counter's model whose `advance` says the same as ever, and then something else."""
    return in_method(
        "advance", "said = self._advance(time)", f"return {line}", "", "    def _advance(self, time):"
    ).replace("            def _advance", "    def _advance")


def lying(line: str) -> str:
    return MODEL.replace('return [Event("done", job=job)]', line)


def asked(model: str, **fields: object) -> pb.VerifyRequest:
    return pb.VerifyRequest(
        simulator="system",
        suite="mine",
        suite_files=suite_files(package(model=model)),
        policy=type_pb2.Policy(source=POLICY),
        scenarios=["mine/few"],
        **fields,  # type: ignore[arg-type]
    )


def failure(client: Verifier, model: str, **fields: object) -> str:
    with pytest.raises(Internal) as failed:
        client.verify(asked(model, **fields))
    assert failed.value.reason == "MODEL_FAILED"
    return failed.value.message


# name -> (model, text in its offending line or None, what the message says)
MODELS = {
    "no class": ("x = 1\n", None, "must define a class Model"),
    "no syntax": ("class Model(:\n", "class Model(:", "SyntaxError"),
    "no method": (MODEL.replace("def observe", "def look"), None, "class Model has no method observe"),
    "raises at import": ("raise RuntimeError('no')\n", "raise", "RuntimeError: no"),
    "raises in a run": (in_method("on_input", "1 / 0"), "1 / 0", "ZeroDivisionError"),
    "undeclared event": (
        lying('return [Event("finished", job=job)]'),
        'return [Event("finished"',
        "'finished' is not declared as an event; declared are: started, done",
    ),
    "missing field": (lying('return [Event("done")]'), 'Event("done")', "lacks the field 'job'"),
    "extra field": (lying('return [Event("done", job=job, x=1)]'), "x=1", "has no field 'x'; its fields are: job"),
    "wrong type": (lying('return [Event("done", job=1.5)]'), 'Event("done", job=1.5)', "done.job is 1.5"),
    "unknown id": (lying('return [Event("done", job=77)]'), 'Event("done", job=77)', "names job 77"),
    "order broken": (
        MODEL.replace('return [Event("started", job=job)]', "return []"),
        'return [Event("done"',
        "rejected invariant started: done: job 1 comes without a started before it",
    ),
    "capacity broken": (
        MODEL.replace("self.free = config.slots", "self.free = 9"),
        'return [Event("started"',
        "rejected invariant slots: started: 3 held, and the limit is 2",
    ),
    "twice": (
        lying('return [Event("done", job=job)] * 2'),
        'return [Event("done"',
        "rejected invariant started",
    ),
    "time back": (
        MODEL.replace("return self.due[0][0] if self.due", "return 0.2 if self.due"),
        "def next_event_time",
        "next_event_time() returned 0.2, before now, 0.5: time must not run back",
    ),
    "time is nonsense": (
        MODEL.replace("return self.due[0][0] if self.due else None", "return 'soon'"),
        "def next_event_time",
        "next_event_time() returned 'soon'; must be seconds or None",
    ),
    "time stands still": (
        MODEL.replace("return self.due[0][0] if self.due else None", "return self.due[0][0] if self.due else 0.0")
        .replace("        _, done, job", "        if not self.due:\n            return []\n        _, done, job"),
        "def next_event_time",
        "time stands still at 0.0",
    ),
    "observes what is not declared": (
        MODEL.replace('{"free": self.free}', '{"free": self.free, "secret": 1}'),
        "def observe",
        "observe() has 'secret', which is not declared; declared are: free",
    ),
    "observes the wrong type": (
        MODEL.replace('{"free": self.free}', '{"free": "two"}'), "def observe", "observe() gives 'free' that is 'two'"
    ),
    "observes nothing": (MODEL.replace('return {"free": self.free}', "pass"), "def observe", "observe() returned None"),
    "no JSON": (MODEL.replace('{"free": self.free}', '{"free": {1, 2}}'), None, "not a JSON value"),
    "loops": (in_method("on_input", "while True:", "    pass"), None, "_limit: "),
    "grows": (in_method("on_input", "self.x = bytearray(2 << 30)"), "bytearray", "memory_limit"),
    "forks": (in_method("on_input", "import os", "os.fork()"), "os.fork", "raised"),
    "reads a file": (in_method("on_input", "open('/etc/passwd')"), "open(", "raised"),
    "opens a socket": (
        in_method("on_input", "import _socket", "_socket.socket()"),
        None,
        "raised",
    ),
    "leaves": (in_method("on_input", "import os", "os._exit(0)"), None, "died: the process ended"),
    "speaks out of turn": (in_method("on_input", "import os", "os.write(3, b'x')"), None, "protocol"),
    "parameter out of range": (
        "from quintain_system import Parameter\nPARAMETERS = {'a': Parameter(1.0, 2.0, 's', 5.0)}\n" + MODEL,
        None,
        "parameter a is 5.0; must be between 1.0 and 2.0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_model_that_failed(client: Verifier, name: str) -> None:
    model, offending, expected = MODELS[name]
    message = failure(client, model)
    assert expected in message
    if offending is not None:
        assert f"model.py:{line_in(model, offending)}:" in message
    else:
        assert "model.py" in message


def test_the_failure_is_not_kept(client: Verifier) -> None:
    model = in_method("on_input", "raise RuntimeError('kept?')")
    assert failure(client, model) == failure(client, model)  # a second run, not a verdict that says so


def test_a_model_that_decides_by_chance_is_told_apart_from_a_policy_that_does(client: Verifier) -> None:
    by_hash = in_method("observe", "return {'free': min(self.free, 1 + hash('salt') % 2)}")
    assert "nondeterministic" in failure(client, by_hash, check_determinism=True)
    request = asked(MODEL, check_determinism=True)
    request.policy.source = POLICY.replace("free = observation", "free = hash('salt') % 2 + observation")
    verdict = client.verify(request).verdict
    assert verdict.status in (pb.VERDICT_STATUS_NONDETERMINISTIC, pb.VERDICT_STATUS_POLICY_FAILED)


REJECTED = {
    "an undeclared kind": ('Decision("stop", job=1)', "decision", "'stop' is not declared as a decision"),
    "a job that does not exist": ('Decision("start", job=99)', "unknown_id", "names job 99, which does not exist"),
    "what the model refuses": ('Decision("start", job=1)', "started_twice", "start(job=1)"),
    "a wrong type": ('Decision("start", job=[1])', "field", "must be the id of a job"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_it_is_the_policy_that_decided_wrongly(client: Verifier, name: str) -> None:
    decision, rule, message = REJECTED[name]
    source = (
        POLICY.replace("def decide(", "def right(")
        + f"""
def decide(observation, happened):
    decided = right(observation, happened)
    if observation["time"] > 5 and happened[-1].kind == "job":
        decided = [{decision}]
    return decided
"""
    )
    request = asked(MODEL)
    request.policy.source = source
    verdict = client.verify(request).verdict
    assert verdict.status == pb.VERDICT_STATUS_POLICY_FAILED
    assert (verdict.failure.kind, verdict.failure.rule) == (pb.FAILURE_KIND_REJECTED, rule)
    assert message in verdict.failure.message
    assert verdict.failure.time_seconds == pytest.approx(6.0)
