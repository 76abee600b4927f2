// The errors that no server sent: ends that this side finds or decides itself.

import { type Finished, FinishReason } from "@tokengrpc/tokenstreaming-v1";

import { Code, TokenStreamError } from "./errors.js";
import type { Plan } from "./plan.js";

/** A stream ended with OK but without the generation's end. */
export function cutShort(): TokenStreamError {
  return new TokenStreamError("the stream ended without the generation's end", { code: Code.UNAVAILABLE });
}

/** A connection broke, and so did as many attempts to resume. */
export function connectionLost(cause: TokenStreamError, attempts: number, resumable: boolean): TokenStreamError {
  const tried = attempts > 0 ? ` and ${attempts} attempts to resume failed` : "";
  return new TokenStreamError(
    `the connection broke${tried} (${cause.details})`,
    { code: cause.code, reason: "CONNECTION_LOST", advice: resumable ? "RESUME" : "RETRY" },
    { cause },
  );
}

/** After a broken connection the server no longer has what follows. */
export function generationLost(cause: TokenStreamError): TokenStreamError {
  return new TokenStreamError(
    `the connection broke and the rest is gone (${cause.details})`,
    { code: cause.code, reason: "GENERATION_LOST", advice: "RETRY", ended: cause.ended },
    { cause },
  );
}

/** After a broken connection there is no time for another attempt. */
export function tooLate(cause: TokenStreamError): TokenStreamError {
  return new TokenStreamError(
    `the deadline came while reconnecting (${cause.details}): allow more time`,
    { code: Code.DEADLINE_EXCEEDED, reason: "DEADLINE_EXCEEDED" },
    { cause },
  );
}

/** The error of a generation that ended at the time limit which stands for its caller's timeout. */
export function timeLimitError(plan: Plan, finish: Finished): TokenStreamError | undefined {
  if (finish.finishReason !== FinishReason.TIME_LIMIT || !plan.failsAtTimeLimit) return undefined;
  return new TokenStreamError(`the timeout of ${plan.timeoutMs} ms came before the end: allow more time`, {
    code: Code.DEADLINE_EXCEEDED,
    reason: "DEADLINE_EXCEEDED",
    advice: "RETRY",
    ended: true,
  });
}

/** A stream was closed, by somebody else on this side, while it was read. */
export function closedWhileRead(): TokenStreamError {
  const told = { code: Code.CANCELLED, reason: "CANCELLED" };
  return new TokenStreamError("the stream was closed while it was read", told);
}
