// The decisions of a balancing policy as genes, for quintain's offline backend: data, as JSON. The fields are those of
// quintain.plugins.grammar; the template is Jinja.

type Value = string | number;

function choice(name: string, component: string, options: Record<string, string>, when: object | null = null) {
  const choices = Object.keys(options);
  return { name, component, kind: "choice", default: choices[0]!, choices, says: options, when };
}

function float(
  name: string,
  component: string,
  [low, high]: [number, number],
  start: number,
  says: string,
  when: Record<string, Value[]>,
  log = false,
) {
  return { name, component, kind: "float", default: start, low, high, log, digits: 2, says, when };
}

const SPEED = { estimate: ["speed"] };

const GENES = [
  choice("estimate", "estimate", {
    outstanding: "a server costs what is outstanding there, for each slot",
    speed: "a server costs the wait that is expected there, from service times that its answers show",
  }),
  float("gain", "estimate", [0.01, 0.5], 0.1, "the newest answer counts {value}", SPEED, true),
  float("speed_weight", "estimate", [0.5, 2], 1, "service times have the exponent {value}", SPEED),
  float("idle_weight", "estimate", [0.1, 4], 1, "the request's own service counts {value}", SPEED, true),
  choice("tie", "estimate", { none: "", spread: "taken slots count as well" }, SPEED),
  float("spread", "estimate", [0.05, 2], 0.3, "by {value}", { ...SPEED, tie: ["spread"] }, true),
  choice("forget", "forgetting", { no: "", yes: "a service time that is not renewed goes back to the average" }, SPEED),
  float("forget_seconds", "forgetting", [0.3, 20], 3, "by half in {value} s", { ...SPEED, forget: ["yes"] }, true),
  choice("avoid", "errors", { checks: "health checks say who is up", errors: "a server with an error gets nothing" }),
  float("eject_seconds", "errors", [0.05, 5], 1, "for {value} s", { avoid: ["errors"] }, true),
  choice("cold", "return", { trusted: "", careful: "a server that has come back costs more at first" }),
  float("cold_seconds", "return", [0.5, 10], 4, "for {value} s", { cold: ["careful"] }, true),
  float("cold_penalty", "return", [1, 10], 3, "by a factor that begins at {value}", { cold: ["careful"] }, true),
];

const SEEDS = [
  { name: "connections", genes: {} },
  { name: "ejecting", genes: { avoid: "errors" } },
  { name: "measured", genes: { estimate: "speed" } },
  { name: "measured_and_careful", genes: { estimate: "speed", forget: "yes", avoid: "errors", cold: "careful" } },
];

export function grammar(template: string): string {
  return JSON.stringify({ version: 1, genes: GENES, template, seeds: SEEDS });
}
