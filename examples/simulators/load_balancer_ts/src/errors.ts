// What a caller can do wrong. `status.ts` makes gRPC statuses of these; whatever else is thrown is a bug of ours.

/** The input is wrong. `field` is the place (`trace.csv:12:kind`), `reason` what was found and what would be right. */
export class InvalidInput extends Error {
  constructor(
    readonly field: string,
    readonly reason: string,
  ) {
    super(`${field}: ${reason}`);
  }
}

/** The files of a caller's suite were never sent, or are forgotten. */
export class SuiteNotHere extends Error {}

/** A name of a scenario that there is not. */
export class UnknownName extends Error {}
