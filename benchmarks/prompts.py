"""Prompts of a real search, part by part: ``python -m benchmarks.prompts --simulator faas --suite standard``.

Two searches with the services as a user runs them: the offline backend finds policies, then a provider on this machine
answers with them in their order (each with a hypothesis and a prediction), so that parents, feedback and history are
real. Tokens by the stated estimator; "cacheable" is the part up to the last breakpoint that is byte for byte the same
as in the attempt before. ``--keep DIR`` writes each prompt as text, and its request as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from quintain.plugins.backend import Message
from quintain_generator.domain.prices import estimate_prompt_tokens, estimate_tokens

ATTEMPTS = (1, 10, 50)
Prompt = list[dict[str, Any]]


class Provider(ThreadingHTTPServer):
    """Chat completions: the n-th request gets the n-th policy."""

    def __init__(self, policies: Sequence[str], scenario: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.policies, self.scenario, self.asked = policies, scenario, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self) -> str:
        with self.lock:
            number, self.asked = self.asked, self.asked + 1
        policy = self.policies[number % len(self.policies)]
        claim = f"Hypothesis: idea {number} of the offline search carries over"
        prediction = f"Prediction: {self.scenario} +0.02, mean +0.01"
        return f"{claim}\n{prediction}\n\n```python\n{policy}\n```\n"


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": self.server.answer()},
        }
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = json.dumps(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "scripted",
                "choices": [choice],
                "usage": usage,
            }
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        return


class Quintain:
    """The command line with data and configuration in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config").mkdir()
        places = {"QUINTAIN_DATA": "data", "QUINTAIN_RUN": "run", "QUINTAIN_CONFIG": "config"}
        self.environment = os.environ | {key: str(folder / place) for key, place in places.items()}

    def __call__(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "quintain_cli.app", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def search(self, *arguments: str) -> str:
        """Its id, when it has ended."""
        *_, last = self("search", "--json", *arguments).splitlines()
        return str(json.loads(last)["search_id"])


def gather(simulator: str, suite: str) -> dict[int, dict[str, Any]]:
    """Candidates of the second search by number, as `quintain show --json` has them."""
    count = str(max(ATTEMPTS))
    with tempfile.TemporaryDirectory() as folder:
        quintain = Quintain(Path(folder))
        problem = ("--simulator", simulator, "--suite", suite, "--candidates", count, "--seed", "1")
        found = quintain.search(*problem, "--backend", "offline")
        rows = [json.loads(line) for line in quintain("export", found, "--format", "jsonl", "--sources").splitlines()]
        policies = [row["source"] for row in rows if row["operator"] != "seed" and row["source"]]
        suites = [json.loads(line) for line in quintain("suites", simulator, "--json").splitlines()]
        (scenario, *_) = (e["scenario"] for s in suites if s["name"] == suite for e in s["entries"])
        provider = Provider(policies, scenario)
        (quintain.folder / "config" / "generator.toml").write_text(
            '[backends.scripted]\nkind = "openai-compatible"\nmodel = "scripted"\noptions = '
            f'{{base_url = "http://127.0.0.1:{provider.server_port}/v1", stream = false}}\n'
        )
        one = ("--parallel-generations", "1", "--parallel-verifications", "1")
        search_id = quintain.search(*problem, "--backend", "scripted", *one)
        numbers = sorted({n for attempt in ATTEMPTS for n in (attempt - 1, attempt) if n > 0})
        found_candidates = {n: json.loads(quintain("show", search_id, str(n), "--json")) for n in numbers}
        provider.shutdown()
        return found_candidates


def parts(prompt: Prompt) -> dict[str, int]:
    """Tokens by part: the heads of what is not fenced, with numbers taken off."""
    sizes: dict[str, int] = {}
    for message in prompt:
        title, fence, text = message["role"], "", ""
        for line in message["content"].splitlines(keepends=True):
            mark = line[: len(line) - len(line.lstrip("`"))]
            if len(mark) >= 3 and (not fence or len(mark) >= len(fence)):
                fence = "" if fence else mark
            elif not fence and line.startswith(("# ", "## ")):
                sizes[title] = sizes.get(title, 0) + estimate_tokens(text)
                title, text = line.strip("# \n").split(" (")[0].split(":")[0].rstrip("0123456789 "), ""
            text += line
        sizes[title] = sizes.get(title, 0) + estimate_tokens(text)
    return {title: size for title, size in sizes.items() if size}


def cacheable(now: Prompt, before: Prompt) -> int:
    same = 0
    while same < min(len(now), len(before)) and now[same]["content"] == before[same]["content"]:
        same += 1
    marked = [n for n in range(same) if now[n].get("cache_breakpoint")]
    return tokens(now[: marked[-1] + 1]) if marked else 0


def tokens(prompt: Prompt) -> int:
    return estimate_prompt_tokens(Message(m["role"], m["content"]) for m in prompt)


def as_text(prompt: Prompt) -> str:
    """For people, and for the files of ``tests/golden/prompts``."""
    parts = []
    for message in prompt:
        mark = " (may be cached)" if message.get("cache_breakpoint") else ""
        parts.append(f"<<< {message['role']}{mark} >>>\n{message['content']}")
    return "\n".join(parts)


def without_the_offline_backends(request: dict[str, Any]) -> dict[str, Any]:
    """The request without what only the offline backend reads."""
    simulator = {k: v for k, v in request["task"]["simulator"].items() if k not in ("grammar", "baselines")}
    return {**request, "task": {**request["task"], "simulator": simulator}}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--simulator", default="faas")
    arguments.add_argument("--suite", default="standard")
    arguments.add_argument("--keep", type=Path)
    given = arguments.parse_args()
    candidates = gather(given.simulator, given.suite)
    prompts: dict[int, Prompt] = {n: c["generation"]["prompt"] for n, c in candidates.items()}
    for n in ATTEMPTS:
        size = tokens(prompts[n])
        shared = cacheable(prompts[n], prompts.get(n - 1, prompts[n]))
        print(f"attempt {n}: {size} tokens, {shared / size:.0%} cacheable")
        for title, part in parts(prompts[n]).items():
            print(f"  {part:>6}  {title}")
        if given.keep is not None:
            given.keep.mkdir(parents=True, exist_ok=True)
            name = f"{given.simulator}-{n}"
            (given.keep / f"{name}.txt").write_text(as_text(prompts[n]))
            request = without_the_offline_backends(candidates[n]["request"])
            (given.keep / f"{name}.json").write_text(json.dumps(request, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
