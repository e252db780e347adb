// Serves the simulator: node dist/src/server.js [--listen HOST:PORT] [--address-file FILE] [--proto DIR]

import { renameSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { HealthImplementation } from "grpc-health-check";
import type { Outcome } from "../generated/quintain/simulator/v1/Outcome";
import type { OwnSuite__Output } from "../generated/quintain/simulator/v1/OwnSuite";
import type { PolicyReply__Output } from "../generated/quintain/simulator/v1/PolicyReply";
import type { SimulateRequest__Output } from "../generated/quintain/simulator/v1/SimulateRequest";
import type { SimulatorHandlers } from "../generated/quintain/simulator/v1/Simulator";
import type { File__Output } from "../generated/quintain/verifier/v1/File";
import { description, suiteMessage } from "./describe.js";
import { CALLING_MODES, type Reply, type Run, simulate } from "./engine.js";
import { InvalidInput, UnknownName } from "./errors.js";
import { ownSuite } from "./own_suites.js";
import { builtIn, fromFiles, type Scenario, suiteTemplate } from "./scenarios.js";
import { score } from "./score.js";
import { Busy, statusOf } from "./status.js";

const MAX_RUNS = 64; // at a time; each holds its scenario's state
const DRAIN_MILLISECONDS = 20_000;
const MAX_MESSAGE_BYTES = 32 * 1024 * 1024; // as the verifier's
const SERVICE = "quintain.simulator.v1.Simulator";

const described = description(); // of the code that runs, whatever becomes of its files
let runs = 0;

const handlers: SimulatorHandlers = {
  Describe: unary(() => described),

  GetScenario: unary(({ name, files, suite }) => {
    const { digest, description, workload } = scenarioOf(name, files, suite);
    return { scenario: { name, digest, description, cost: workload.arrivals.length / 1000 } };
  }),

  GetSuite: unary(({ suite }) => {
    if (!suite) throw new InvalidInput("suite", "is missing");
    const { spec, scenarios } = ownSuite(suite);
    const notes = spec.heldOut.length
      ? []
      : ["there are no held-out scenarios: nothing will say whether a gain carries over"];
    return {
      simulator: { ...described.simulator, suites: [spec.name] },
      suite: suiteMessage(spec, (name) => scenarios.get(name)!),
      notes,
    };
  }),

  GetSuiteTemplate: unary(() => ({
    files: [...suiteTemplate()].map(([name, content]) => ({ name, content: Buffer.from(content) })),
  })),

  Score: unary(({ objective, scenario, files, outcome, baseline, suite }) => {
    if (!outcome || !baseline) throw new InvalidInput(outcome ? "baseline" : "outcome", "is missing");
    return score(objective, scenarioOf(scenario, files, suite), outcome, baseline);
  }),

  Simulate(call) {
    let run: Run | undefined;
    let over = false; // the outcome or an error was sent, or the caller is gone; what comes after is not looked at
    const end = () => {
      if (run && !over) runs--;
      over = true;
    };
    const fail = (error: unknown) => {
      end();
      call.emit("error", statusOf(error));
    };
    const answer = ({ done, value }: IteratorResult<unknown, Outcome>) => {
      if (!done) {
        call.write({ policy_message_json: JSON.stringify(value) });
        return;
      }
      end();
      call.write({ outcome: value });
      call.end();
    };
    call.on("data", ({ start, policy_reply }: SimulateRequest__Output) => {
      if (over) return;
      try {
        if (run) {
          if (start) throw new InvalidInput("start", "a run has one start");
          answer(run.next(replyOf(policy_reply)));
        } else {
          if (!start) throw new InvalidInput("start", "the first message of a run must be start");
          if (runs >= MAX_RUNS) throw new Busy(`${MAX_RUNS} runs are simulated already`);
          checkMode(start.calling_mode);
          run = simulate(scenarioOf(start.scenario, start.files, start.suite), start.calling_mode);
          runs++;
          answer(run.next());
        }
      } catch (error) {
        fail(error);
      }
    });
    call.on("end", () => {
      if (!over) fail(new InvalidInput("policy_reply", "one reply is due for every policy_message"));
    });
    call.on("cancelled", end); // the generator is dropped with all that it holds
  },
};

function unary<Request, Response>(handle: (request: Request) => Response): grpc.handleUnaryCall<Request, Response> {
  return (call, callback) => {
    try {
      callback(null, handle(call.request));
    } catch (error) {
      callback(statusOf(error));
    }
  };
}

function replyOf(reply: PolicyReply__Output | null | undefined): Reply {
  if (reply?.failure) return { failure: reply.failure };
  if (reply?.query_json !== undefined) return { query: parsed("query_json", reply.query_json) };
  if (reply?.answer_json !== undefined) return { answer: parsed("answer_json", reply.answer_json) };
  throw new InvalidInput("policy_reply", "one reply is due for every policy_message");
}

function parsed(field: string, json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new InvalidInput(`policy_reply.${field}`, `is not JSON: ${error}`);
  }
}

function scenarioOf(name: string, files: File__Output[], suite: OwnSuite__Output | null | undefined): Scenario {
  if (suite) {
    const { spec, scenarios } = ownSuite(suite);
    const found = scenarios.get(name);
    if (found) return found;
    const known = [...scenarios.keys()].join(", ");
    throw new UnknownName(`scenario '${name}' is unknown; suite '${spec.name}' has ${known}`);
  }
  return files.length ? fromFiles(name, new Map(files.map((file) => [file.name, file.content]))) : builtIn(name);
}

function checkMode(mode: string): void {
  if (mode && !CALLING_MODES.includes(mode)) {
    throw new InvalidInput("calling_mode", `'${mode}' is unknown; known are: ${CALLING_MODES.join(", ")}`);
  }
}

function main(): void {
  const { values } = parseArgs({
    options: {
      listen: { type: "string", default: "127.0.0.1:50054" },
      "address-file": { type: "string" },
      proto: { type: "string", default: fileURLToPath(new URL("../../../../../proto", import.meta.url)) },
    },
  });
  const definition = loadSync("quintain/simulator/v1/simulator.proto", {
    includeDirs: [values.proto],
    keepCase: true, // these four as in package.json, which makes the types
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
  });
  const server = new grpc.Server({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  });
  server.addService(
    definition[SERVICE] as grpc.ServiceDefinition,
    handlers as unknown as grpc.UntypedServiceImplementation,
  );
  const health = new HealthImplementation({ "": "SERVING", [SERVICE]: "SERVING" });
  health.addToServer(server);
  server.bindAsync(values.listen, grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) {
      console.error(`cannot listen at ${values.listen}: ${error.message}`);
      process.exit(1);
    }
    const address = `${values.listen.slice(0, values.listen.lastIndexOf(":"))}:${port}`;
    const file = values["address-file"];
    if (file) {
      writeFileSync(`${file}.partial`, JSON.stringify({ address }));
      renameSync(`${file}.partial`, file); // whole or not at all
    }
    console.error(`serving at ${address}`);
  });
  const drain = () => {
    for (const name of ["", SERVICE]) health.setStatus(name, "NOT_SERVING");
    server.tryShutdown(() => process.exit(0)); // runs that are going on end first, but not for ever
    setTimeout(() => process.exit(0), DRAIN_MILLISECONDS);
  };
  process.once("SIGTERM", drain);
  process.once("SIGINT", drain);
}

main();
