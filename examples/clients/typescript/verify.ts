// Verify a policy: npm install && npm run generate && npm run check && npm run verify POLICY [ADDRESS]
import { readFileSync } from "node:fs";
import * as grpc from "@grpc/grpc-js";
import * as loader from "@grpc/proto-loader";
import type { ProtoGrpcType } from "./generated/verifier";
import type { VerifyResponse__Output } from "./generated/quintain/verifier/v1/VerifyResponse";

const [policyFile, address = "127.0.0.1:7071"] = process.argv.slice(2);
if (!policyFile) {
  console.error("usage: npm run verify POLICY [ADDRESS]");
  process.exit(2);
}
const definition = loader.loadSync("quintain/verifier/v1/verifier.proto", {
  includeDirs: [new URL("../../../proto", import.meta.url).pathname],
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});
const contract = grpc.loadPackageDefinition(definition) as unknown as ProtoGrpcType;
const client = new contract.quintain.verifier.v1.Verifier(address, grpc.credentials.createInsecure());

const call = client.Verify(
  { simulator: "faas", suite: "smoke", policy: { source: readFileSync(policyFile, "utf8") } },
  { deadline: Date.now() + 600_000 },
);
call.on("data", ({ progress, result }: VerifyResponse__Output) => {
  if (progress) console.log(`${progress.scenariosDone}/${progress.scenariosTotal} scenarios`);
  const verdict = result?.verdict;
  if (verdict) console.log(`${verdict.status}: score ${verdict.train?.score}, baseline ${verdict.train?.baselineScore}`);
});
// A policy that fails is a result; an error is the caller's or the machine's. UNAVAILABLE: try again, it joins the run.
call.on("error", (error: grpc.ServiceError) => {
  console.error(`${grpc.status[error.code]}: ${error.details}`);
  process.exitCode = 1;
});
call.on("end", () => client.close());
