// Suites that callers bring along, by digest: what was sent once need not be sent again.

import { createHash } from "node:crypto";
import type { OwnSuite__Output } from "../generated/quintain/simulator/v1/OwnSuite";
import { InvalidInput, SuiteNotHere } from "./errors.js";
import { type OwnSuite, suiteFromFiles } from "./scenarios.js";

const KEPT = 8;
const kept = new Map<string, OwnSuite>(); // in the order of use

export function ownSuite({ name, files: sent }: OwnSuite__Output): OwnSuite {
  if (!name) throw new InvalidInput("suite.name", "is empty; a suite that comes as files needs a name");
  const files = new Map((sent?.files ?? []).map((file) => [file.name, file.content] as const));
  const given = sent?.digest ?? "";
  const digest = files.size ? digestOf(files) : given;
  if (given && given !== digest) {
    throw new InvalidInput("suite.files.digest", `is '${given}', but the files have ${digest}`);
  }
  const key = `${name}\0${digest}`;
  const found = kept.get(key) ?? (files.size ? suiteFromFiles(name, files) : undefined);
  if (!found) throw new SuiteNotHere(`the files of suite '${digest.slice(0, 12)}' are not here; send them`);
  kept.delete(key);
  kept.set(key, found);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value!);
  return found;
}

/** As quintain.verifier.v1.SuiteFiles says. */
function digestOf(files: Map<string, Uint8Array>): string {
  const sha = createHash("sha256");
  for (const [name, content] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    sha.update(`${name}\0${content.length}\0`).update(content);
  }
  return sha.digest("hex");
}
