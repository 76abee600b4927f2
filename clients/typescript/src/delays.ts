// The delays before a stream's further calls: within its deadline, its patience and its number of retries. Clockless:
// each method takes the time. All times are in milliseconds.

import type { TokenStreamError } from "./errors.js";
import { tryElsewhere, type ResumePolicy } from "./policy.js";

const defaultPatienceMs = 60_000;

export class Delays {
  /** The failure of the last call; undefined once a call has delivered. */
  lastFailure: TokenStreamError | undefined;
  #deadline = Infinity;
  #impatientSince = Infinity;
  #reconnections = 0;
  #triedElsewhere = false;
  #retries = 0;

  /** `random` returns a number from 0 to 1. */
  constructor(readonly policy: ResumePolicy, readonly random: () => number) {}

  /** Starts the caller's timeout, if there is one. */
  begin(timeoutMs: number | undefined, now: number): void {
    if (timeoutMs !== undefined) this.#deadline = now + timeoutMs;
  }

  /** The time until the deadline. */
  leftMs(now: number): number {
    return Math.max(0, this.#deadline - now);
  }

  /** The time until patience ends: Infinity, or that of the deadline, while no call has failed. */
  patienceMs(now: number): number {
    const unlimited = this.#deadline === Infinity ? defaultPatienceMs : Infinity;
    const end = this.#impatientSince + (this.policy.patienceMs ?? unlimited);
    return Math.min(this.#deadline, end) - now;
  }

  /** Ends the row of failures, because a call has delivered an event or a heartbeat. */
  renewPatience(): void {
    this.lastFailure = undefined;
    this.#impatientSince = Infinity;
    this.#reconnections = 0;
    this.#triedElsewhere = false;
  }

  /** Returns the delay before the next reconnection; undefined if patience would end before it. */
  beforeReconnection(failure: TokenStreamError, now: number): number | undefined {
    this.lastFailure = failure;
    this.#impatientSince = Math.min(this.#impatientSince, now);
    const withinMs = this.patienceMs(now);
    if (tryElsewhere.has(failure.reason) && !this.#triedElsewhere) {
      this.#triedElsewhere = true;
      return this.#bounded(0, failure, withinMs);
    }
    return this.#delay(this.#reconnections++, failure, withinMs);
  }

  /** Returns the delay before the next start; undefined if none is allowed, or the deadline would pass before it. */
  beforeRetry(failure: TokenStreamError, now: number): number | undefined {
    if (this.#retries >= this.policy.retryAttempts) return undefined;
    return this.#delay(this.#retries++, failure, this.leftMs(now));
  }

  /** A random backoff, plus the delay that the server asks for. */
  #delay(done: number, failure: TokenStreamError, withinMs: number): number | undefined {
    const { backoffFactor, initialBackoffMs, maxBackoffMs } = this.policy;
    const backoff = Math.min(maxBackoffMs, initialBackoffMs * backoffFactor ** done);
    return this.#bounded(this.random() * backoff + Math.max(0, failure.retryDelayMs), failure, withinMs);
  }

  #bounded(delayMs: number, { retryDelayMs }: TokenStreamError, withinMs: number): number | undefined {
    return retryDelayMs <= this.policy.maxRetryDelayMs && delayMs < withinMs ? delayMs : undefined;
  }
}
