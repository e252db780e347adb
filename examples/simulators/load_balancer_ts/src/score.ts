// What an outcome is worth.

import type { Outcome__Output } from "../generated/quintain/simulator/v1/Outcome";
import type { ScoreResponse } from "../generated/quintain/simulator/v1/ScoreResponse";
import { InvalidInput } from "./errors.js";
import type { Scenario } from "./scenarios.js";
import { MICROS, TIMEOUT } from "./workload.js";

export const OBJECTIVE = {
  name: "mean_response",
  metric: "mean_response_seconds",
  unit: "s",
  direction: "DIRECTION_MINIMIZE" as const,
  description:
    "Mean time from a request's arrival to its answer; one that fails or takes longer than 5 s counts 5 s. " +
    "The bound: every request is served by the fastest server at the end of its window, without queueing. " +
    "Normalized: bound / value.",
};

/** `normalized` is bound / value: 1 at the bound, half for twice its time, 0 for a run that failed. */
export function score(
  objective: string,
  scenario: Scenario,
  outcome: Outcome__Output,
  baseline: Outcome__Output,
): ScoreResponse {
  if (objective !== OBJECTIVE.name) {
    throw new InvalidInput("objective", `'${objective}' is unknown; known is: ${OBJECTIVE.name}`);
  }
  const worst = TIMEOUT / MICROS;
  const bound = scenario.least / scenario.workload.arrivals.length / MICROS;
  const raw = mean(outcome);
  const value = outcome.failure || raw === undefined ? undefined : raw;
  return {
    value: value ?? worst,
    ...(raw !== undefined && { raw }),
    normalized: value === undefined ? 0 : Math.min(1, bound / value),
    baseline: mean(baseline) ?? worst,
    bound,
  };
}

function mean(outcome: Outcome__Output): number | undefined {
  return outcome.metrics.find(({ name }) => name === OBJECTIVE.metric)?.value;
}
