// What a run is made of. Times are whole microseconds: their sums are exact, and the same on every machine.

export const MICROS = 1_000_000;
/** The gateway collects requests and sends them together, this often. */
export const WINDOW = 50_000;
export const HEALTH_CHECK_PERIOD = 2 * MICROS;
/** What its user waits for a request at most; a failed one counts as long. */
export const TIMEOUT = 5 * MICROS;
/** The share of its speed that a server has when it comes back cold. */
export const COLD_SHARE = 0.3;

export const KINDS = ["small", "large"] as const;

export interface ServerSpec {
  name: string;
  /** Requests that it works on at a time; others queue, first come, first served. */
  slots: number;
  /** Seconds of work that a slot does in a second when the server is warm and undisturbed. */
  speed: number;
  /** Requests that may queue; more are refused at once. */
  queue: number;
  /** Until a server that comes back has its whole speed again. */
  warmUp: number;
}

/** `share` of its speed that the server has from `from` until `until`; 0: it is down, and what it holds is lost. */
export interface Disturbance {
  server: number;
  from: number;
  until: number;
  share: number;
}

export interface Arrival {
  time: number;
  /** Index in KINDS. */
  kind: number;
  /** Microseconds at speed 1. */
  work: number;
}

export interface Workload {
  servers: ServerSpec[];
  disturbances: Disturbance[];
  /** In the order of time. */
  arrivals: Arrival[];
  /** For the policy's own use. */
  seed: number;
}

/**
 * Microseconds of all response times together that no policy can go below: each request waits for the end of its
 * window and is then served at once by the fastest server, warm and undisturbed.
 */
export function leastTotal(workload: Workload): number {
  const fastest = Math.max(...workload.servers.map((server) => server.speed));
  return workload.arrivals.reduce(
    (sum, { time, work }) => sum + (windowEnd(time) - time) + Math.ceil(work / fastest),
    0,
  );
}

/** The end of the window in which something arrives. */
export function windowEnd(time: number): number {
  return (Math.floor(time / WINDOW) + 1) * WINDOW;
}
