// The next step after a failure, and the limits of attempts and delays: docs/client-policy.md. No I/O.

import { Code, type TokenStreamError } from "./errors.js";

/** The limits of a client's attempts and delays; times in milliseconds. */
export interface ResumePolicy {
  /**
   * How long a stream reconnects without a new event or heartbeat, in milliseconds. Undefined (default): until the
   * stream's timeout, or 60 s without one.
   */
  patienceMs: number | undefined;
  /** Repeated starts of a generation whose engines could not be asked, or that the server lost before any output. */
  retryAttempts: number;
  /**
   * Bound of the first delay; it grows by the factor up to the maximum. Delays are random below it. Only the first call
   * after `OVERLOADED` or `DRAINING` is made at once, because it goes to another replica if there is one.
   */
  initialBackoffMs: number;
  backoffFactor: number;
  maxBackoffMs: number;
  /** The longest delay accepted from the server (RetryInfo); if it asks for more, the stream fails. */
  maxRetryDelayMs: number;
  /** The timeout of CancelGeneration after a reader has closed its stream. */
  cancelTimeoutMs: number;
}

export const defaultPolicy: Readonly<ResumePolicy> = {
  patienceMs: undefined,
  retryAttempts: 2,
  initialBackoffMs: 50,
  backoffFactor: 2,
  maxBackoffMs: 1_000,
  maxRetryDelayMs: 30_000,
  cancelTimeoutMs: 5_000,
};

/**
 * - `reconnect`: call again for the same generation, after the cursor, if the stream is resumable.
 * - `wait`: call again in any case, because nothing was lost and no engine was asked.
 * - `end`: end normally, because the cursor was already that of `finished`.
 * - `retry`: start the generation again, because it never began.
 * - `lost`: the server no longer has the remaining events.
 * - `raise`: fail.
 */
export type Step = "reconnect" | "wait" | "end" | "retry" | "lost" | "raise";

/** The state of a stream when its call ended. */
export interface Standing {
  /** The call was ResumeTokens. */
  resuming: boolean;
  /** An event has arrived, in this call or an earlier one. */
  begun: boolean;
  /** The stream only reads a generation that another call started. */
  readOnly: boolean;
}

// The codes that gRPC reports for a broken connection: reset, refused, closed midway, or reset by a proxy.
const brokenCodes = new Set([Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN]);
const turnedAway = new Set(["OVERLOADED", "DRAINING", "QUOTA_EXCEEDED", "STORE_UNAVAILABLE"]);
/** Reasons that concern one server: another replica may serve the call at once. */
export const tryElsewhere: ReadonlySet<string> = new Set(["OVERLOADED", "DRAINING"]);
const notKept = new Set(["GENERATION_NOT_FOUND", "REPLAY_EXPIRED", "SEQUENCE_OUT_OF_RANGE"]);

/** Returns the next step after a call that ended without `finished`; `failure` is undefined if it ended with OK. */
export function nextStep(failure: TokenStreamError | undefined, { resuming, begun, readOnly }: Standing): Step {
  // OK on a read-only stream without any event: the cursor was that of `finished`.
  if (failure === undefined) return readOnly && !begun ? "end" : "reconnect";
  const { advice, code, ended, reason } = failure;
  if (advice === "RESUME") return "reconnect";
  // Without known advice, the code alone decides.
  if (!advice) return brokenCodes.has(code) ? "reconnect" : "raise";
  if (resuming && begun && notKept.has(reason)) return "lost";
  // Generated output is billed, so only a generation that never began is started again without the caller.
  const neverBegan = !resuming && !begun && !ended && advice !== "NEVER";
  if (turnedAway.has(reason) && (neverBegan || (resuming && !ended))) return "wait";
  return neverBegan && reason === "ENGINE_UNAVAILABLE" ? "retry" : "raise";
}
