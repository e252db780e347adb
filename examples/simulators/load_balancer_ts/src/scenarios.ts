// The scenarios and suites that the simulator ships, and scenarios from a caller's files.

import { createHash } from "node:crypto";
import { parse, TomlError } from "smol-toml";
import { InvalidInput, UnknownName } from "./errors.js";
import { Random } from "./random.js";
import {
  type Arrival,
  type Disturbance,
  KINDS,
  leastTotal,
  MICROS,
  type ServerSpec,
  TIMEOUT,
  type Workload,
} from "./workload.js";

export interface Scenario {
  name: string;
  /** Of everything that an outcome depends on beside the policy and the build. */
  digest: string;
  description: string;
  workload: Workload;
  /** Microseconds of all responses together that no policy can go below. */
  least: number;
}

export interface SuiteSpec {
  name: string;
  description: string;
  train: string[];
  heldOut: string[];
}

interface Recipe {
  description: string;
  servers: number;
  /** Of the capacity of all servers, warm and undisturbed. */
  load: number;
  /** Of the load, over the share of the run that is over. */
  shape?: (share: number) => number;
  disturb?: (random: Random, servers: number, seconds: number) => Disturbance[];
}

const RECIPES: Record<string, Recipe> = {
  steady: { description: "Servers of very unequal speed at 70 % load", servers: 12, load: 0.7 },
  busy: { description: "90 % load: who treats all servers alike overloads the slow ones", servers: 12, load: 0.9 },
  deaths: {
    description: "Servers die, lose what they hold, and come back cold, faster than health checks tell",
    servers: 12,
    load: 0.6,
    disturb: deaths,
  },
  noisy: {
    description: "Neighbours take most of a server's speed for some seconds; no health check sees it",
    servers: 12,
    load: 0.6,
    disturb: neighbours,
  },
  surge: {
    description: "In the middle twice as many requests as at the ends, on few servers",
    servers: 8,
    load: 0.6,
    shape: (share) => (share > 0.4 && share < 0.6 ? 1.5 : 0.8),
  },
  rollout: {
    description: "Every server is restarted, one after the other, and comes back cold",
    servers: 16,
    load: 0.6,
    disturb: rollout,
  },
};
const TRAIN = ["steady", "busy", "deaths", "noisy"];
const HELD_OUT = ["surge", "rollout"];
const SECONDS = 30;

/** Name -> recipe, seed, seconds. */
const BUILT_IN = new Map<string, [recipe: string, seed: number, seconds: number]>([
  ...[...TRAIN, ...HELD_OUT].flatMap((recipe) => [1, 2].map((seed) => built(recipe, seed))),
  ...TRAIN.map((recipe) => built(recipe, 3)),
  ...["steady", "deaths", "noisy", "rollout"].map((recipe): [string, [string, number, number]] => [
    `smoke_${recipe}`,
    [recipe, 11, 5],
  ]),
]);

function built(recipe: string, seed: number): [string, [string, number, number]] {
  return [`${recipe}_${seed}`, [recipe, seed, SECONDS]];
}

export const SUITES: SuiteSpec[] = [
  {
    name: "standard",
    description: "Four kinds of trouble to train on; other kinds, and other seeds of these, held out",
    train: TRAIN.flatMap((recipe) => [`${recipe}_1`, `${recipe}_2`]),
    heldOut: [...HELD_OUT.flatMap((recipe) => [`${recipe}_1`, `${recipe}_2`]), ...TRAIN.map((recipe) => `${recipe}_3`)],
  },
  {
    name: "smoke",
    description: "Three short runs and a held-out one, for tests and first steps",
    train: ["smoke_steady", "smoke_deaths", "smoke_noisy"],
    heldOut: ["smoke_rollout"],
  },
];

const resolved = new Map<string, Scenario>();

export function builtIn(name: string): Scenario {
  const found = BUILT_IN.get(name);
  if (!found) throw new UnknownName(`scenario '${name}' is unknown; known are: ${[...BUILT_IN.keys()].join(", ")}`);
  let scenario = resolved.get(name);
  if (!scenario) {
    const [recipe, seed, seconds] = found;
    scenario = made(name, RECIPES[recipe]!.description, generate(RECIPES[recipe]!, seed, seconds));
    resolved.set(name, scenario);
  }
  return scenario;
}

function made(name: string, description: string, workload: Workload): Scenario {
  const digest = createHash("sha256").update(JSON.stringify(workload)).digest("hex");
  return { name, digest, description, workload, least: leastTotal(workload) };
}

// -------------------------------------------------------------------------------------------------------- made by seed

function generate(recipe: Recipe, seed: number, seconds: number): Workload {
  const random = new Random(seed);
  const servers: ServerSpec[] = [];
  for (let number = 0; number < recipe.servers; number++) {
    const slots = 2 + Math.floor(random.uniform() * 5);
    const speed = random.between(0.4, 2);
    servers.push({ name: `server_${number}`, slots, speed, queue: 8 * slots, warmUp: 4 * MICROS });
  }
  const disturbances = recipe.disturb?.(random, recipe.servers, seconds) ?? [];
  const capacity = servers.reduce((sum, { slots, speed }) => sum + slots * speed, 0);
  const most = Math.max(...Array.from({ length: 101 }, (_, i) => recipe.shape?.(i / 100) ?? 1));
  const rate = (capacity * recipe.load * most) / MEAN_WORK_SECONDS;
  const arrivals: Arrival[] = [];
  for (let time = 0; ;) {
    time += (random.exponential() / rate) * MICROS;
    if (time >= seconds * MICROS) break;
    const kept = random.uniform() * most < (recipe.shape?.(time / (seconds * MICROS)) ?? 1); // thinning
    if (kept) arrivals.push({ time: Math.floor(time), ...someWork(random) });
  }
  return { servers, disturbances, arrivals, seed };
}

// Four in five requests are small.
const SMALL_SECONDS = [0.02, 0.1] as const;
const LARGE_SECONDS = [0.2, 0.6] as const;
const MEAN_WORK_SECONDS = 0.8 * 0.06 + 0.2 * 0.4;

function someWork(random: Random): { kind: number; work: number } {
  const kind = random.uniform() < 0.8 ? 0 : 1;
  const [low, high] = kind === 0 ? SMALL_SECONDS : LARGE_SECONDS;
  return { kind, work: Math.ceil(random.between(low, high) * MICROS) };
}

function deaths(random: Random, servers: number, seconds: number): Disturbance[] {
  return some(random, servers, seconds, 6, [2, 5], () => 0);
}

function neighbours(random: Random, servers: number, seconds: number): Disturbance[] {
  return some(random, servers, seconds, 3, [3, 8], () => random.between(0.1, 0.4));
}

/** One about every `every` seconds, on some server, for `lasting` seconds. */
function some(
  random: Random,
  servers: number,
  seconds: number,
  every: number,
  [low, high]: [number, number],
  share: () => number,
): Disturbance[] {
  const found: Disturbance[] = [];
  for (let time = random.exponential(); time < seconds; time += every * random.exponential()) {
    const from = Math.floor(time * MICROS);
    const until = from + Math.floor(random.between(low, high) * MICROS);
    found.push({ server: Math.floor(random.uniform() * servers), from, until, share: share() });
  }
  return found;
}

function rollout(random: Random, servers: number, seconds: number): Disturbance[] {
  return Array.from({ length: servers }, (_, server) => {
    const from = Math.floor(((server + random.uniform() / 2) * seconds * MICROS) / servers);
    return { server, from, until: from + Math.floor((seconds * MICROS) / 15), share: 0 };
  });
}

// ---------------------------------------------------------------------------------------------------- a caller's files

const MAX_SERVERS = 256;
const MAX_ARRIVALS = 200_000;
const MAX_SECONDS = 3600;
const MAX_DISTURBANCES = 1000;
const MAX_SLOTS = 1000;

/**
 * `scenario.toml` with tables `[[servers]]` and `[[disturbances]]`, and the trace that it names, with a row a
 * request.
 */
export function fromFiles(name: string, files: Map<string, Uint8Array>): Scenario {
  const file = "scenario.toml";
  const table = toml(file, text(file, files));
  onlyKeys(file, table, SCENARIO_KEYS);
  return fromTable(`${file}:`, name, table, files);
}

const SCENARIO_KEYS = ["description", "trace", "seed", "servers", "disturbances"];

function fromTable(
  prefix: string,
  name: string,
  table: Record<string, unknown>,
  files: Map<string, Uint8Array>,
): Scenario {
  const servers = list(`${prefix}servers`, table.servers, MAX_SERVERS).map((entry, index) =>
    serverFrom(`${prefix}servers[${index}]`, entry, index),
  );
  if (!servers.length) throw new InvalidInput(`${prefix}servers`, "is empty; at least one server is needed");
  const disturbances = list(`${prefix}disturbances`, table.disturbances ?? [], MAX_DISTURBANCES).map((entry, index) =>
    disturbanceFrom(`${prefix}disturbances[${index}]`, entry, servers),
  );
  const seed = number(`${prefix}seed`, table.seed ?? 0, 0, 2 ** 32 - 1, true);
  const trace = String(table.trace ?? "trace.csv");
  const arrivals = arrivalsFrom(trace, text(trace, files));
  const fastest = Math.max(...servers.map(({ speed }) => speed));
  const endless = arrivals.findIndex(({ work }) => work / fastest >= TIMEOUT / 2);
  if (endless >= 0) {
    const most = (fastest * TIMEOUT) / MICROS / 2;
    const reason = `takes the fastest server half of the time-out of ${TIMEOUT / MICROS} s; must be below ${most}`;
    throw new InvalidInput(`${trace}:${endless + 2}:work_seconds`, reason);
  }
  return made(name, String(table.description ?? ""), { servers, disturbances, arrivals, seed });
}

// ------------------------------------------------------------------------------------------------------ a caller's suite

/** A suite of a caller's own, with its scenarios by name. */
export interface OwnSuite {
  spec: SuiteSpec;
  scenarios: Map<string, Scenario>;
}

const MAX_SCENARIOS = 64;

/**
 * `suite.toml` with a table `[[scenarios]]`: of each `name`, `part`, and what a `scenario.toml` has. What all have in common
 * may stand at the top.
 */
export function suiteFromFiles(name: string, files: Map<string, Uint8Array>): OwnSuite {
  const file = "suite.toml";
  const table = toml(file, text(file, files));
  onlyKeys(file, table, [...SCENARIO_KEYS, "scenarios"]);
  const spec: SuiteSpec = { name, description: String(table.description ?? ""), train: [], heldOut: [] };
  const scenarios = new Map<string, Scenario>();
  list(`${file}:scenarios`, table.scenarios, MAX_SCENARIOS).forEach((value, index) => {
    const where = `${file}:scenarios[${index}]`;
    const entry = record(where, value);
    onlyKeys(where, entry, [...SCENARIO_KEYS, "name", "part"]);
    const own = entry.name;
    if (typeof own !== "string" || !own || scenarios.has(own)) {
      throw new InvalidInput(`${where}.name`, `found ${JSON.stringify(own) ?? "nothing"}; must be a name of its own`);
    }
    if (entry.part !== "train" && entry.part !== "held_out") {
      throw new InvalidInput(`${where}.part`, "must be train or held_out");
    }
    const common = { trace: table.trace, seed: table.seed, servers: table.servers, disturbances: table.disturbances };
    scenarios.set(own, fromTable(`${where}.`, own, { ...common, ...entry }, files));
    (entry.part === "train" ? spec.train : spec.heldOut).push(own);
  });
  if (!spec.train.length) throw new InvalidInput(`${file}:scenarios`, "none is of part train; a score counts those only");
  return { spec, scenarios };
}

/** A small suite that runs. */
export function suiteTemplate(): Map<string, string> {
  const files = new Map([["suite.toml", SUITE_TEMPLATE]]);
  for (const [day, seed] of [["monday", 1], ["tuesday", 2]] as const) {
    const { arrivals } = generate({ description: "", servers: 3, load: 0.7 }, seed, 4);
    const rows = arrivals.map(({ time, kind, work }) => `${time / MICROS},${KINDS[kind]},${work / MICROS}`);
    files.set(`${day}.csv`, [COLUMNS.join(","), ...rows, ""].join("\n"));
  }
  return files;
}

const SUITE_TEMPLATE = `description = "Requests to three servers"

[[servers]]                # what all scenarios have in common; each may have its own instead
name = "old"
slots = 4                  # requests at a time
speed = 0.6                # 1: a request takes its work_seconds
queue = 32                 # how many may wait
warm_up_seconds = 4        # after a death

[[servers]]
name = "new"
slots = 4
speed = 1.6

[[servers]]
name = "spare"
slots = 2
speed = 1.0

[[scenarios]]
name = "monday"
part = "train"             # or held_out: it only says whether a gain carries over
trace = "monday.csv"       # columns: arrival_seconds,kind,work_seconds

[[scenarios]]
name = "tuesday"
part = "held_out"
trace = "tuesday.csv"

[[scenarios.disturbances]]
server = "new"
from_seconds = 1.0
until_seconds = 2.0
share = 0.0                # of its speed that is left; 0: it is dead
`;

function serverFrom(where: string, entry: unknown, index: number): ServerSpec {
  const table = record(where, entry);
  onlyKeys(where, table, ["name", "slots", "speed", "queue", "warm_up_seconds"]);
  const slots = number(`${where}.slots`, table.slots ?? 4, 1, MAX_SLOTS, true);
  return {
    name: String(table.name ?? `server_${index}`),
    slots,
    speed: number(`${where}.speed`, table.speed ?? 1, 0.01, 100),
    queue: number(`${where}.queue`, table.queue ?? 8 * slots, 0, MAX_ARRIVALS, true),
    warmUp: micros(number(`${where}.warm_up_seconds`, table.warm_up_seconds ?? 4, 0, MAX_SECONDS)),
  };
}

function disturbanceFrom(where: string, entry: unknown, servers: ServerSpec[]): Disturbance {
  const table = record(where, entry);
  onlyKeys(where, table, ["server", "from_seconds", "until_seconds", "share"]);
  const server = servers.findIndex(({ name }) => name === table.server);
  if (server < 0) {
    const known = servers.map(({ name }) => name).join(", ");
    throw new InvalidInput(`${where}.server`, `found ${JSON.stringify(table.server)}; must be one of: ${known}`);
  }
  const from = micros(number(`${where}.from_seconds`, table.from_seconds, 0, MAX_SECONDS));
  const until = micros(number(`${where}.until_seconds`, table.until_seconds, 0, MAX_SECONDS));
  if (until <= from) throw new InvalidInput(`${where}.until_seconds`, "must be after from_seconds");
  return { server, from, until, share: number(`${where}.share`, table.share ?? 0, 0, 1) };
}

const COLUMNS = ["arrival_seconds", "kind", "work_seconds"];

function arrivalsFrom(file: string, csv: string): Arrival[] {
  const lines = csv.split(/\r?\n/);
  while (lines.at(-1) === "") lines.pop();
  const header = lines.shift() ?? "";
  if (header !== COLUMNS.join(",")) {
    throw new InvalidInput(`${file}:1`, `found the columns ${JSON.stringify(header)}; must be ${COLUMNS.join(",")}`);
  }
  if (!lines.length) throw new InvalidInput(file, "has no row; at least one request is needed");
  if (lines.length > MAX_ARRIVALS) {
    throw new InvalidInput(file, `has ${lines.length} rows; at most ${MAX_ARRIVALS} are simulated`);
  }
  let last = 0;
  return lines.map((line, index) => {
    const where = `${file}:${index + 2}`;
    const cells = line.split(",");
    if (cells.length !== COLUMNS.length) {
      throw new InvalidInput(where, `has ${cells.length} columns; must have ${COLUMNS.length}: ${COLUMNS.join(",")}`);
    }
    const time = micros(number(`${where}:arrival_seconds`, numeral(cells[0]!), 0, MAX_SECONDS));
    if (time < last) throw new InvalidInput(`${where}:arrival_seconds`, "is before the row above; rows go by time");
    last = time;
    const kind = KINDS.findIndex((known) => known === cells[1]);
    if (kind < 0) throw new InvalidInput(`${where}:kind`, `found '${cells[1]}'; must be one of: ${KINDS.join(", ")}`);
    return { time, kind, work: micros(number(`${where}:work_seconds`, numeral(cells[2]!), 1e-6, MAX_SECONDS)) };
  });
}

function numeral(cell: string): unknown {
  return cell.trim() === "" || Number.isNaN(Number(cell)) ? cell : Number(cell);
}

function micros(seconds: number): number {
  return Math.round(seconds * MICROS);
}

function text(file: string, files: Map<string, Uint8Array>): string {
  const content = files.get(file);
  if (!content) {
    const given = [...files.keys()].sort().join(", ") || "none";
    throw new InvalidInput(file, `is missing; the files given are: ${given}`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    throw new InvalidInput(file, "is not UTF-8 text");
  }
}

function toml(file: string, source: string): Record<string, unknown> {
  try {
    return parse(source);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw new InvalidInput(`${file}:${error.line}:${error.column}`, error.message.split("\n")[0]!);
  }
}

function record(where: string, value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new InvalidInput(where, "must be a table");
  return value as Record<string, unknown>;
}

function list(where: string, value: unknown, most: number): unknown[] {
  if (!Array.isArray(value)) throw new InvalidInput(where, "is missing; must be a list of tables");
  if (value.length > most) throw new InvalidInput(where, `has ${value.length} entries; at most ${most} are simulated`);
  return value;
}

function onlyKeys(where: string, table: Record<string, unknown>, known: string[]): void {
  const unknown = Object.keys(table).find((key) => !known.includes(key));
  if (unknown) throw new InvalidInput(`${where}:${unknown}`, `unknown key; known are: ${known.join(", ")}`);
}

function number(where: string, value: unknown, low: number, high: number, whole = false): number {
  const fits = typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value));
  if (!fits) {
    const found = typeof value === "bigint" ? `${value}` : (JSON.stringify(value) ?? "nothing");
    throw new InvalidInput(
      where,
      `found ${found}; must be a ${whole ? "whole number" : "number"} from ${low} to ${high}`,
    );
  }
  return value;
}
