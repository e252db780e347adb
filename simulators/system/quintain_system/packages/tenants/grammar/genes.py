"""Writes ../grammar.json, what the offline backend varies:

python simulators/system/quintain_system/packages/tenants/grammar/genes.py
"""

from __future__ import annotations

from pathlib import Path

from quintain.plugins.grammar import Gene, Grammar, Seed

HERE = Path(__file__).parent


def choice(name: str, component: str, when: dict[str, tuple[str, ...]] | None = None, /, **says: str) -> Gene:
    """The first of `says` is the default."""
    options = tuple(says)
    return Gene(name, component, "choice", options[0], choices=options, says=says, when=when)


def number(
    name: str, component: str, default: float, low: float, high: float, says: str, when: dict[str, tuple[str, ...]], /,
    log: bool = False,
) -> Gene:  # fmt: skip
    return Gene(name, component, "float", default, low=low, high=high, log=log, digits=2, says=says, when=when)


GENES = (
    choice(
        "place_warm", "placement",
        calm="a request goes to the warm instance on the node with the fewest requests in work",
        packed="a request goes to the warm instance on the node with the most requests in work",
        recent="a request goes to the warm instance that was used last",
    ),
    choice("crowd", "placement", any="however crowded it is", limit="unless it is crowded"),
    number("crowd_limit", "placement", 1.0, 0.4, 4.0, "with more than {value} requests for each core",
           {"crowd": ("limit",)}, log=True),
    choice(
        "place_cold", "placement",
        most_free="a new instance starts where most memory is free",
        best_fit="a new instance starts where it leaves the least memory free",
        calm="a new instance starts where the fewest requests are in work",
        score="a new instance starts on the node with the best score",
    ),
    number("running_weight", "placement", 1.0, 0.0, 3.0, "requests in work count {value}", {"place_cold": ("score",)}),
    number("free_weight", "placement", 1.0, -2.0, 3.0, "free memory {value}", {"place_cold": ("score",)}),
    number("image_weight", "placement", 1.0, 0.0, 3.0, "an image that was there {value}", {"place_cold": ("score",)}),
    choice(
        "use_starting", "placement",
        before_new="one that is starting is taken before a new one",
        after_new="one that is starting is taken if there is no room for a new one",
    ),
    choice(
        "wait_for_place", "placement",
        never="a request does not wait for a busy instance",
        if_start_is_slow="a request waits for a busy instance if a start would take long",
    ),
    number("slow_start", "placement", 2.0, 0.2, 20.0, "more than {value} times the usual work",
           {"wait_for_place": ("if_start_is_slow",)}, log=True),
    choice(
        "keep_law", "keep-alive",
        fixed="idle instances stay for a fixed time",
        forever="idle instances stay until memory is needed",
        gaps="idle instances stay for a multiple of the mean gap between requests",
        quantile="idle instances stay for as long as most of the gaps between requests",
        worth="idle instances stay for longer if a start costs more for each MB",
    ),
    number("keep_seconds", "keep-alive", 600.0, 5.0, 2000.0, "{value} s", {"keep_law": ("fixed",)}, log=True),
    number("keep_gaps", "keep-alive", 3.0, 0.3, 20.0, "{value} times it", {"keep_law": ("gaps",)}, log=True),
    number("keep_share", "keep-alive", 0.95, 0.3, 1.0, "a share of {value}", {"keep_law": ("quantile",)}),
    number("keep_worth", "keep-alive", 300.0, 10.0, 3000.0, "{value} s for each second of it and 100 MB",
           {"keep_law": ("worth",)}, log=True),
    number("keep_most", "keep-alive", 900.0, 60.0, 3000.0, "at most {value} s",
           {"keep_law": ("gaps", "quantile", "worth")}, log=True),
    choice(
        "eviction", "eviction",
        oldest="the longest unused goes first",
        greedy_dual="the one with the least priority goes first: clock + calls x start / memory",
        score="the one with the least worth goes first",
        largest="the largest goes first",
    ),
    number("frequency_power", "eviction", 1.0, 0.0, 2.0, "calls to the power of {value}", {"eviction": ("score",)}),
    number("cost_power", "eviction", 1.0, 0.0, 2.0, "seconds of a start to {value}", {"eviction": ("score",)}),
    number("size_power", "eviction", 1.0, 0.0, 2.0, "through memory to {value}", {"eviction": ("score",)}),
    number("age_power", "eviction", 1.0, 0.0, 2.0, "and age to {value}", {"eviction": ("score",)}),
    number("weight_power", "eviction", 0.5, 0.0, 2.0, "times weight to {value}", {"eviction": ("score",)}),
    choice(
        "prewarm", "starts in advance",
        none="nothing is started before its request",
        regular="functions that come like clockwork are started before their next request",
        early="functions without an instance are started before their next request is likely",
    ),
    number("prewarm_lead", "starts in advance", 5.0, 0.0, 30.0, "{value} s ahead", {"prewarm": ("regular", "early")}),
    number("regular_within", "starts in advance", 0.1, 0.01, 0.5, "gaps differ by at most a share of {value}",
           {"prewarm": ("regular",)}, log=True),
    choice("spare", "starts in advance", none="nobody gets a spare instance", share="busy functions get a spare one"),
    number("spare_share", "starts in advance", 1.0, 0.4, 1.5, "once a share of {value} of their places is taken",
           {"spare": ("share",)}),
    choice("admission", "admission", all="nobody is refused", refuse_late="who is too late is refused"),
    number("refuse_after", "admission", 2.0, 1.0, 20.0, "after {value} objectives", {"admission": ("refuse_late",)},
           log=True),
    choice(
        "queue_order", "queue",
        arrival="first come, first served",
        deadline="the earliest deadline first",
        weight="the heaviest first",
        short="the shortest objective first",
        hopeful="who is late comes last, before that weight for memory",
    ),
)  # fmt: skip

SEEDS = (
    Seed("fixed", {}),
    Seed("cache", {"keep_law": "forever", "eviction": "greedy_dual"}),
    Seed("histogram", {"keep_law": "quantile", "prewarm": "regular"}),
    Seed("deadlines", {"keep_law": "forever", "eviction": "score", "queue_order": "deadline", "place_cold": "score"}),
    Seed("patient", {"keep_law": "gaps", "wait_for_place": "if_start_is_slow", "crowd": "limit", "eviction": "score"}),
    Seed("hopeful", {"keep_law": "forever", "eviction": "score", "queue_order": "hopeful", "admission": "refuse_late"}),
    Seed("ahead", {"keep_law": "worth", "prewarm": "early", "spare": "share", "use_starting": "after_new"}),
)


def grammar() -> Grammar:
    return Grammar(GENES, (HERE / "policy.py.j2").read_text(encoding="utf-8"), SEEDS)


if __name__ == "__main__":
    (HERE.parent / "grammar.json").write_text(grammar().to_json() + "\n", encoding="utf-8")
