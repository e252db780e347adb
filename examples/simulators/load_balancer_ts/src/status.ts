// Errors of this simulator as gRPC statuses with google.rpc details, which the verifier shows to its caller.

import { type Metadata as MetadataType, Metadata, type StatusObject, status } from "@grpc/grpc-js";
import protobuf from "protobufjs";
import { InvalidInput, SuiteNotHere, UnknownName } from "./errors.js";

// google/rpc/status.proto and error_details.proto, as far as they are used here.
const { root } = protobuf.parse(`
  syntax = "proto3";
  package google.rpc;
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; }
  message FieldViolation { string field = 1; string description = 2; }
  message BadRequest { repeated FieldViolation fieldViolations = 1; }
`);

export function statusOf(error: unknown): StatusObject {
  if (error instanceof InvalidInput) {
    const violation = { field: error.field, description: error.reason };
    return made(status.INVALID_ARGUMENT, error.message, "INVALID_ARGUMENT", violation);
  }
  if (error instanceof UnknownName) return made(status.NOT_FOUND, error.message, "NOT_FOUND");
  if (error instanceof SuiteNotHere) return made(status.FAILED_PRECONDITION, error.message, "SUITE_NOT_HERE");
  if (error instanceof Busy) return made(status.RESOURCE_EXHAUSTED, error.message, "TOO_MANY_RUNS");
  console.error(error); // a bug here: the caller gets its message, the log the rest
  return made(status.INTERNAL, `the simulator failed: ${error}`, "SIMULATOR_FAULT");
}

export class Busy extends Error {}

function made(code: status, details: string, reason: string, violation?: object): StatusObject {
  const packed = [pack("ErrorInfo", { reason, domain: "quintain" })];
  if (violation) packed.push(pack("BadRequest", { fieldViolations: [violation] }));
  const metadata: MetadataType = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(encode("Status", { code, message: details, details: packed })));
  return { code, details, metadata };
}

function pack(name: string, value: object) {
  return { typeUrl: `type.googleapis.com/google.rpc.${name}`, value: encode(name, value) };
}

function encode(name: string, value: object): Uint8Array {
  const type = root.lookupType(`google.rpc.${name}`);
  return type.encode(type.fromObject(value)).finish();
}
