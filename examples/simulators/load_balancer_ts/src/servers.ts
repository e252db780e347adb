// The servers behind the balancer: queues, speeds, disturbances, health checks. Holds the truth; knows no policy.

import { COLD_SHARE, type Disturbance, HEALTH_CHECK_PERIOD, TIMEOUT, type Workload, windowEnd } from "./workload.js";

/** One answer, as the balancer sees it: server, kind, microseconds since it was sent, 1 for a good one, else 0. */
export type Response = [server: number, kind: number, micros: number, good: number];

interface Event {
  time: number;
  /** At one time: disturbances begin and end, then work finishes, then health is checked. */
  priority: number;
  sequence: number;
  happen: () => void;
}

interface ServerState {
  up: boolean;
  /** Counts its deaths: what finishes for a dead generation does not. */
  generation: number;
  /** What disturbs it now. */
  disturbances: Set<Disturbance>;
  backSince: number | null;
  busy: number;
  queue: number[];
  healthy: boolean;
}

export class Servers {
  /** By request: microseconds from arrival to the answer, TIMEOUT if it failed or took longer; -1: none yet. */
  readonly responseTimes: Float64Array;
  readonly failed: Uint8Array;
  readonly busyMicros: number[];
  readonly sent: number[];
  lastResponse = 0;
  private readonly states: ServerState[];
  private readonly running: Set<number>[];
  private readonly sentAt: Float64Array;
  private readonly events: Event[] = [];
  private sequence = 0;
  private responses: Response[] = [];
  private health: [server: number, healthy: number][] = [];

  constructor(private readonly workload: Workload) {
    const { servers, disturbances, arrivals } = workload;
    this.responseTimes = new Float64Array(arrivals.length).fill(-1);
    this.failed = new Uint8Array(arrivals.length);
    this.sentAt = new Float64Array(arrivals.length);
    this.busyMicros = servers.map(() => 0);
    this.sent = servers.map(() => 0);
    this.running = servers.map(() => new Set<number>());
    this.states = servers.map(() => ({
      up: true,
      generation: 0,
      disturbances: new Set(),
      backSince: null,
      busy: 0,
      queue: [],
      healthy: true,
    }));
    for (const disturbance of disturbances) {
      this.schedule(disturbance.from, 0, () => this.begin(disturbance));
      this.schedule(disturbance.until, 0, () => this.end(disturbance));
    }
    const last = arrivals.length ? windowEnd(arrivals[arrivals.length - 1]!.time) : 0;
    for (let time = 0; time <= last; time += HEALTH_CHECK_PERIOD) this.schedule(time, 2, () => this.check());
  }

  /** Let everything up to `time` happen. */
  advance(time: number): void {
    while (this.events.length && this.events[0]!.time <= time) pop(this.events).happen();
  }

  /** Let everything happen. */
  finish(): void {
    this.advance(Infinity);
  }

  /** The run is over before its end: what has no answer has failed. */
  giveUp(): void {
    this.responseTimes.forEach((took, request) => {
      if (took >= 0) return;
      this.responseTimes[request] = TIMEOUT;
      this.failed[request] = 1;
    });
  }

  /** What the balancer has seen since it was last asked. */
  news(): { responses: Response[]; health: [number, number][] } {
    const { responses, health } = this;
    this.responses = [];
    this.health = [];
    return { responses, health };
  }

  send(request: number, server: number, time: number): void {
    const state = this.states[server]!;
    const spec = this.workload.servers[server]!;
    this.sentAt[request] = time;
    this.sent[server]!++;
    if (!state.up || (state.busy >= spec.slots && state.queue.length >= spec.queue)) {
      this.respond(request, server, time, false);
      return;
    }
    state.queue.push(request);
    this.work(server, time);
  }

  private work(server: number, time: number): void {
    const state = this.states[server]!;
    while (state.busy < this.workload.servers[server]!.slots && state.queue.length) {
      const request = state.queue.shift()!;
      const { generation } = state;
      const took = Math.ceil(this.workload.arrivals[request]!.work / this.speed(server, time));
      state.busy++;
      this.running[server]!.add(request);
      this.schedule(time + took, 1, () => {
        if (state.generation !== generation) return; // it was lost with the server
        state.busy--;
        this.running[server]!.delete(request);
        this.busyMicros[server]! += took;
        this.respond(request, server, time + took, true);
        this.work(server, time + took);
      });
    }
  }

  /** A request is served at the speed that its server has when it begins. */
  private speed(server: number, time: number): number {
    const state = this.states[server]!;
    const spec = this.workload.servers[server]!;
    const cold = state.backSince !== null && time < state.backSince + spec.warmUp;
    const warmth = cold ? COLD_SHARE + ((1 - COLD_SHARE) * (time - state.backSince!)) / spec.warmUp : 1;
    return spec.speed * Math.min(1, ...[...state.disturbances].map(({ share }) => share)) * warmth;
  }

  private begin(disturbance: Disturbance): void {
    const { server, share, from } = disturbance;
    const state = this.states[server]!;
    state.disturbances.add(disturbance);
    if (share > 0) return;
    const lost = [...this.running[server]!, ...state.queue];
    state.up = false;
    state.generation++;
    this.running[server]!.clear();
    state.queue = [];
    state.busy = 0;
    for (const request of lost) this.respond(request, server, from, false);
  }

  private end(disturbance: Disturbance): void {
    const state = this.states[disturbance.server]!;
    state.disturbances.delete(disturbance);
    if (state.up || [...state.disturbances].some(({ share }) => share === 0)) return;
    state.up = true;
    state.backSince = disturbance.until;
  }

  private check(): void {
    this.states.forEach((state, server) => {
      if (state.healthy === state.up) return;
      state.healthy = state.up;
      this.health.push([server, state.up ? 1 : 0]);
    });
  }

  private respond(request: number, server: number, time: number, good: boolean): void {
    const { time: arrived, kind } = this.workload.arrivals[request]!;
    const took = time - arrived;
    this.lastResponse = time;
    this.failed[request] = good && took < TIMEOUT ? 0 : 1;
    this.responseTimes[request] = this.failed[request] ? TIMEOUT : took;
    this.responses.push([server, kind, time - this.sentAt[request]!, good ? 1 : 0]);
  }

  private schedule(time: number, priority: number, happen: () => void): void {
    push(this.events, { time, priority, sequence: this.sequence++, happen });
  }
}

function before(a: Event, b: Event): boolean {
  return a.time !== b.time
    ? a.time < b.time
    : a.priority !== b.priority
      ? a.priority < b.priority
      : a.sequence < b.sequence;
}

function push(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(event, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): Event {
  const first = heap[0]!;
  const last = heap.pop()!;
  if (!heap.length) return first;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (!before(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return first;
}
