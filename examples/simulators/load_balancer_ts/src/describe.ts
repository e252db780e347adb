// What the simulator says about itself.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { DescribeResponse } from "../generated/quintain/simulator/v1/DescribeResponse";
import type { Suite } from "../generated/quintain/type/v1/Suite";
import { CALLING_MODES } from "./engine.js";
import { grammar } from "./grammar.js";
import { builtIn, type Scenario, SUITES, type SuiteSpec } from "./scenarios.js";
import { OBJECTIVE } from "./score.js";

const CODE = new URL(".", import.meta.url); // dist/src
const PYTHON = new URL("../../python/", CODE);

const BASELINES = [
  // The first is the default: what scores are compared with, and where a search begins.
  { name: "least_connections", description: "The healthy server with the fewest outstanding requests for each slot" },
  { name: "round_robin", description: "The healthy servers in turn" },
  { name: "random_choice", description: "Any healthy server, by chance from the scenario's seed" },
];

export function description(): DescribeResponse {
  const read = (name: string) => readFileSync(new URL(name, PYTHON), "utf-8");
  return {
    simulator: {
      name: "load_balancer",
      title: "Request load balancer",
      build: build(),
      policy_guide: read("guide.md"),
      required_definitions: [
        { kind: "function", name: "choose", description: "choose(balancer, request): the number of the server" },
      ],
      objectives: [OBJECTIVE],
      suites: SUITES.map(({ name }) => name),
      baselines: BASELINES.map((baseline) => ({ ...baseline, source: read(`baselines/${baseline.name}.py`) })),
      descriptors: [
        { metric: "failed_share", edges: [0.001, 0.005, 0.02] },
        { metric: "largest_share", edges: [0.12, 0.16, 0.2, 0.3] },
        { metric: "p99_response_seconds", edges: [0.8, 1.2, 2] },
      ],
      grammar: grammar(read("policy.py.j2")),
      calling_modes: CALLING_MODES,
    },
    suites: SUITES.map((suite) => suiteMessage(suite, builtIn)),
    guest_source: read("guest.py"),
    takes_suites: true,
  };
}

/** `scenario` by name: the entries carry its digest and description. */
export function suiteMessage(
  { name, description, train, heldOut }: SuiteSpec,
  scenario: (name: string) => Scenario,
): Suite {
  const entry = (name: string, part: "PART_TRAIN" | "PART_HELD_OUT") => {
    const { digest, description } = scenario(name);
    return { scenario: name, part, digest, description };
  };
  return {
    name,
    description,
    objective: OBJECTIVE.name,
    aggregation: "AGGREGATION_MEAN_NORMALIZED",
    entries: [
      ...train.map((name) => entry(name, "PART_TRAIN")),
      ...heldOut.map((name) => entry(name, "PART_HELD_OUT")),
    ],
  };
}

/** sha256 over all files that an outcome depends on, by name. */
function build(): string {
  const sha = createHash("sha256");
  const files = [
    ...readdirSync(CODE)
      .filter((name) => name.endsWith(".js"))
      .sort()
      .map((name) => new URL(name, CODE)),
    new URL("guest.py", PYTHON),
    new URL(`baselines/${BASELINES[0]!.name}.py`, PYTHON),
  ];
  for (const file of files) sha.update(`${file.pathname.split("/").at(-1)}\0`).update(readFileSync(file));
  return sha.digest("hex");
}
