// One run: asks the policy, believes nothing that it says, measures. A generator without I/O: it yields what the
// policy is to be told and is resumed with the policy's reply, so that the server is a thin shell around it.

import { createHash } from "node:crypto";
import type { Failure } from "../generated/quintain/verifier/v1/Failure";
import type { Outcome } from "../generated/quintain/simulator/v1/Outcome";
import type { Scenario } from "./scenarios.js";
import { Servers } from "./servers.js";
import { KINDS, MICROS, windowEnd } from "./workload.js";

export const EACH_REQUEST = "each_request";
export const WINDOWS = "windows";
export const CALLING_MODES = [EACH_REQUEST, WINDOWS]; // the most literal one first
const MAX_LOG = 2000; // windows whose decisions can be looked at afterwards

/** What comes back for a message: an answer, a question (which this simulator does not take), or the policy's end. */
export type Reply = { answer: unknown } | { query: unknown } | { failure: Failure };

/** What is wrong with the policy. */
class PolicyFailed extends Error {
  constructor(readonly failure: Failure) {
    super(failure.message);
  }
}

export type Run = Generator<unknown, Outcome, Reply>;

/** `callingMode`: of CALLING_MODES; empty: WINDOWS. Messages: first the guest's setup, then
 * `{time, responses, health, requests}`; see guest.py. */
export function* simulate(scenario: Scenario, callingMode: string): Run {
  const { servers: specs, arrivals, seed } = scenario.workload;
  const mode = callingMode || WINDOWS;
  const servers = new Servers(scenario.workload);
  const sha = createHash("sha256");
  const log: string[] = [];
  let decided = 0;
  let loaded = false;
  let failure: Failure | null = null;
  try {
    yield* ask({ servers: specs.map(({ name, slots, queue }) => [name, slots, queue]), seed });
    loaded = true;
    while (decided < arrivals.length) {
      const time = windowEnd(arrivals[decided]!.time);
      servers.advance(time);
      const choices: number[] = [];
      const first = decided;
      let end = first;
      while (end < arrivals.length && arrivals[end]!.time < time) end++;
      while (decided < end) {
        const batch = arrivals.slice(decided, mode === EACH_REQUEST ? decided + 1 : end);
        const requests = batch.map(({ time: arrived, kind }) => [kind, time - arrived]);
        // What has happened since is told once a window, whatever the mode: the windows decide what can be known.
        const news = decided === first ? servers.news() : { responses: [], health: [] };
        choices.push(...checked(yield* ask({ time, ...news, requests }), batch.length, specs.length));
        decided += batch.length;
      }
      choices.forEach((server, index) => servers.send(first + index, server, time));
      const decision = `${time} ${choices.join(",")}`;
      sha.update(decision + "\n");
      if (log.length < MAX_LOG) log.push(decision);
    }
    servers.finish();
  } catch (error) {
    if (!(error instanceof PolicyFailed)) throw error;
    const place = loaded && { step: decided + 1, time_seconds: windowEnd(arrivals[decided]!.time) / MICROS };
    failure = { ...error.failure, ...place };
    servers.giveUp();
  }
  return {
    scenario: scenario.name,
    ...measured(scenario, servers, decided),
    decisions_digest: sha.digest("hex"),
    calling_mode: mode,
    decision_log: log,
    ...(failure && { failure }),
  };
}

function* ask(message: unknown): Generator<unknown, unknown, Reply> {
  const reply = yield message;
  if ("answer" in reply) return reply.answer;
  if ("failure" in reply) throw new PolicyFailed(reply.failure);
  throw new PolicyFailed({ kind: "FAILURE_KIND_PROTOCOL", message: "a query where none is answered" });
}

function checked(answer: unknown, requests: number, servers: number): number[] {
  if (!Array.isArray(answer) || answer.length !== requests || !answer.every(Number.isInteger)) {
    const said = JSON.stringify(answer).slice(0, 200);
    const message = `expected a list of ${requests} server numbers, got ${said}`;
    throw new PolicyFailed({ kind: "FAILURE_KIND_PROTOCOL", message });
  }
  const unknown = (answer as number[]).find((server) => server < 0 || server >= servers);
  if (unknown !== undefined) {
    const message = `choose() gave server ${unknown}; there are ${servers}, numbered from 0`;
    throw new PolicyFailed({ kind: "FAILURE_KIND_REJECTED", rule: "unknown_server", message });
  }
  return answer as number[];
}

// ---------------------------------------------------------------------------------------------------- what is measured

function measured(scenario: Scenario, servers: Servers, decided: number) {
  const { arrivals, servers: specs } = scenario.workload;
  const all = arrivals.map((_, request) => request);
  const end = Math.max(1, servers.lastResponse);
  const groups = KINDS.map((name, kind) => ({
    name,
    metrics: times(
      servers,
      all.filter((request) => arrivals[request]!.kind === kind),
    ),
  }));
  const byServer = specs.map(({ name, slots }, server) => ({
    name,
    metrics: metrics({
      requests_share: decided ? servers.sent[server]! / decided : 0,
      utilization: servers.busyMicros[server]! / (slots * end),
    }),
  }));
  const favourite = decided ? Math.max(...servers.sent) / decided : 0;
  return {
    metrics: [...times(servers, all), ...metrics({ requests_decided: decided, largest_share: favourite })],
    groups: [...groups.filter(({ metrics }) => metrics.length), ...byServer],
    timeline: worstSeconds(scenario, servers, all),
  };
}

function times(servers: Servers, requests: number[]) {
  if (!requests.length) return [];
  const sorted = Float64Array.from(requests, (request) => servers.responseTimes[request]!).sort();
  const failed = requests.reduce((sum, request) => sum + servers.failed[request]!, 0);
  return metrics({
    mean_response_seconds: sorted.reduce((sum, micros) => sum + micros, 0) / sorted.length / MICROS,
    p99_response_seconds: sorted[Math.ceil(0.99 * sorted.length) - 1]! / MICROS,
    failed_share: failed / requests.length,
  });
}

function metrics(values: Record<string, number>) {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

/** The three seconds whose requests took longest on average. */
function worstSeconds(scenario: Scenario, servers: Servers, requests: number[]) {
  const seconds = new Map<number, { sum: number; count: number; failed: number }>();
  for (const request of requests) {
    const second = Math.floor(scenario.workload.arrivals[request]!.time / MICROS);
    const bucket = seconds.get(second) ?? { sum: 0, count: 0, failed: 0 };
    bucket.sum += servers.responseTimes[request]!;
    bucket.count++;
    bucket.failed += servers.failed[request]!;
    seconds.set(second, bucket);
  }
  return [...seconds]
    .sort(([a, x], [b, y]) => y.sum / y.count - x.sum / x.count || a - b)
    .slice(0, 3)
    .sort(([a], [b]) => a - b)
    .map(([second, { sum, count, failed }]) => ({
      time_seconds: second,
      text: `${count} requests took ${(sum / count / MICROS).toFixed(3)} s on average, ${failed} of them failed`,
    }));
}
