"""Prompt size by attempt, and the share a provider could cache: ``python -m benchmarks.prompt_size``.

A synthetic search: policies of about 3,000 tokens, a guide of about 2,500, feedback of about 1,000, two inspirations;
attempt n + 1 follows attempt n. Tokens by the stated estimator (`quintain_generator.domain.prices.estimate_tokens`).
"Cacheable" is the part up to the last breakpoint that is byte for byte the same as in the attempt before.
"Whole history" is what sending every policy with its feedback costs, as a chat that only grows does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from quintain.plugins.backend import Attempt, Example, Message, Operator, Task
from quintain.plugins.simulator import Description, Direction, Objective, RequiredDefinition
from quintain_generator.config import GeneratorSettings
from quintain_generator.domain.prices import estimate_prompt_tokens
from quintain_generator.prompt.builder import build_prompt

ATTEMPTS = (1, 10, 50, 200)


@dataclass(frozen=True)
class Size:
    attempt: int
    tokens: int
    cacheable_tokens: int
    whole_history_tokens: int

    @property
    def cacheable_share(self) -> float:
        return self.cacheable_tokens / self.tokens


def example_of(number: int) -> Example:
    source = f"# attempt {number}\n" + "".join(f"    weight_{n} = {n} * number\n" for n in range(400))
    feedback = "".join(f"scenario {n}: {number}.{n} containers/s, two broken floors\n" for n in range(70))
    return Example(f"c{number}", source, float(number), number / 1000, feedback)


def task_at(attempt: int) -> Task:
    """The task of the n-th attempt of the synthetic search."""
    objective = Objective("speed", "speed", "1/s", Direction.MAXIMIZE, "Be fast.")
    description = Description(
        name="synthetic",
        title="a synthetic system",
        build="1",
        policy_guide="A line of the guide, about as long as they are.\n" * 190,
        required_definitions=(RequiredDefinition("function", "decide", "decides"),),
        objectives=(objective,),
        suites=(),
        baselines=(),
    )
    past = range(1, attempt)
    return Task(
        simulator=description,
        objective=objective,
        suite_description="",
        operator=Operator.FULL,
        seed=attempt,
        parents=(example_of(attempt - 1),),
        inspirations=tuple(replace(example_of(n), feedback="") for n in past[-4:-2]),
        history=tuple(Attempt(n, f"c{n}", float(n), f"changed weight {n}, two floors broken") for n in past),
        lessons=("Sorting by size helps.",),
        best_score=float(attempt - 1),
    )


def measure(attempt: int, budget_tokens: int) -> Size:
    now, before = (build_prompt(task_at(n), budget_tokens) for n in (attempt, max(1, attempt - 1)))
    policies = [example_of(n) for n in range(attempt)]
    whole = [now[0], *(Message("user", p.source + p.feedback) for p in policies), now[-1]]
    return Size(attempt, estimate_prompt_tokens(now), _cacheable(now, before), estimate_prompt_tokens(whole))


def _cacheable(now: tuple[Message, ...], before: tuple[Message, ...]) -> int:
    same = 0
    while same < min(len(now), len(before)) and now[same].content == before[same].content:
        same += 1
    breakpoints = [n for n in range(same) if now[n].cache_breakpoint]
    return estimate_prompt_tokens(now[: breakpoints[-1] + 1]) if breakpoints else 0


def main() -> None:
    budget = GeneratorSettings.model_fields["prompt_tokens"].default
    print(f"{'attempt':>7} {'tokens':>8} {'cacheable':>10} {'share':>6} {'whole history':>14}")
    for attempt in ATTEMPTS:
        s = measure(attempt, budget)
        cacheable = f"{s.cacheable_tokens:>10} {s.cacheable_share:>6.0%}"
        print(f"{s.attempt:>7} {s.tokens:>8} {cacheable} {s.whole_history_tokens:>14}")


if __name__ == "__main__":
    main()
