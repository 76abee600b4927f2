// What follows a failure, and how long a client is patient: docs/client-policy.md. No I/O, clock or chance here.

import { Code, type TokenStreamError } from "./errors.js";

/** The bounds of a client's patience. */
export interface ResumePolicy {
  /** Calls in a row that bring nothing new, after which a broken connection is given up. */
  attempts: number;
  /** Further starts of a generation that was turned away before it began. */
  retryAttempts: number;
  /** Waits grow from this, by this factor, up to this; each is drawn from 0 to that (full jitter). */
  initialBackoffMs: number;
  backoffFactor: number;
  maxBackoffMs: number;
  /** The longest wait that a server may ask for (RetryInfo); nothing is repeated where it asks for more. */
  maxRetryDelayMs: number;
  /** For the CancelGeneration of a reader who stops. */
  cancelTimeoutMs: number;
}

export const defaultPolicy: Readonly<ResumePolicy> = {
  attempts: 6,
  retryAttempts: 2,
  initialBackoffMs: 50,
  backoffFactor: 2,
  maxBackoffMs: 2_000,
  maxRetryDelayMs: 30_000,
  cancelTimeoutMs: 5_000,
};

/**
 * How long to wait after a failure, before an attempt that is counted from 0: backoff, and what the server asks
 * for. `random` is from 0 to 1.
 */
export function waitMs(policy: ResumePolicy, attempt: number, failure: TokenStreamError, random: number): number {
  const backoff = Math.min(policy.maxBackoffMs, policy.initialBackoffMs * policy.backoffFactor ** attempt);
  return random * backoff + Math.max(0, failure.retryDelayMs);
}

/**
 * - `reconnect`: the same generation again, after the cursor.
 * - `end`: it had ended well where reading began.
 * - `retry`: another start, this one never began.
 * - `lost`: the rest is no longer kept.
 * - `raise`: give up.
 */
export type Step = "reconnect" | "end" | "retry" | "lost" | "raise";

/** Where a stream stood when its call ended. */
export interface Standing {
  /** The call was ResumeTokens. */
  resuming: boolean;
  /** Some event has arrived, in this call or before. */
  begun: boolean;
  /** The stream only reads what another call started. */
  readOnly: boolean;
}

// gRPC makes these of a connection that broke: reset, refused, closed in the middle, a proxy's own reset.
const brokenCodes = new Set([Code.UNAVAILABLE, Code.CANCELLED, Code.INTERNAL, Code.UNKNOWN]);
const turnedAway = new Set(["OVERLOADED", "DRAINING", "QUOTA_EXCEEDED", "STORE_UNAVAILABLE"]);
const notStarted = new Set([...turnedAway, "ENGINE_UNAVAILABLE"]);
const notKept = new Set(["GENERATION_NOT_FOUND", "REPLAY_EXPIRED", "SEQUENCE_OUT_OF_RANGE"]);

/** What to do after a call that ended without `finished`; `failure` is undefined when it ended with OK. */
export function nextStep(failure: TokenStreamError | undefined, { resuming, begun, readOnly }: Standing): Step {
  // OK where nothing was left to read: the cursor was `finished`'s own.
  if (failure === undefined) return readOnly && !begun ? "end" : "reconnect";
  const { advice, code, ended, reason } = failure;
  if (advice === "RESUME") return "reconnect";
  // Without known advice, the code alone decides.
  if (!advice) return brokenCodes.has(code) ? "reconnect" : "raise";
  if (resuming && begun && notKept.has(reason)) return "lost";
  // The generation is alive, but the server does not let its reader in now.
  if (resuming && turnedAway.has(reason) && !ended) return "reconnect";
  // What was generated is billed, so nothing is repeated unasked but what never began.
  const neverBegan = !resuming && !begun && !ended;
  return neverBegan && advice !== "NEVER" && notStarted.has(reason) ? "retry" : "raise";
}
