// How long a stream waits before its next call, and when it gives up.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Delays } from "../delays.js";
import { Code, TokenStreamError } from "../errors.js";
import { defaultPolicy, type ResumePolicy } from "../policy.js";

const delays = (policy: Partial<ResumePolicy> = {}, random = 1) =>
  new Delays({ ...defaultPolicy, ...policy }, () => random);
const failure = (retryDelayMs = 0, reason = "") =>
  new TokenStreamError("it failed", { code: Code.UNAVAILABLE, reason, retryDelayMs });

test("delays double up to a bound, and are drawn between 0 and that", () => {
  const [longest, shortest] = [delays(), delays({}, 0)];
  const waits = Array.from({ length: 8 }, () => longest.beforeReconnection(failure(), 0));
  assert.deepEqual(waits, [50, 100, 200, 400, 800, 1_000, 1_000, 1_000]);
  assert.equal(shortest.beforeReconnection(failure(), 0), 0);
});

test("what the server asks for is added to the delay, unless it is negative", () => {
  assert.equal(delays().beforeReconnection(failure(700), 0), 750);
  assert.equal(delays().beforeReconnection(failure(-700), 0), 50);
});

test("a longer delay than the policy accepts ends the stream", () => {
  assert.equal(delays().beforeReconnection(failure(30_000), 0), 30_050);
  assert.equal(delays().beforeReconnection(failure(30_001), 0), undefined);
});

test("another replica is tried at once after OVERLOADED and DRAINING, once in a row of failures", () => {
  for (const reason of ["OVERLOADED", "DRAINING"]) {
    const full = failure(3_000, reason);
    const tried = delays();
    assert.deepEqual([1, 2, 3].map(() => tried.beforeReconnection(full, 0)), [0, 3_050, 3_100]);
    tried.renewPatience();
    assert.equal(tried.beforeReconnection(full, 0), 0);
    assert.equal(delays({ patienceMs: 0 }).beforeReconnection(full, 0), undefined);
    assert.equal(delays().beforeReconnection(failure(30_001, reason), 0), undefined);
  }
});

/** Returns the last whole second after a first failure at which a stream still reconnects. */
function lastSecond(policy: Partial<ResumePolicy>, timeoutMs?: number): number {
  const tried = delays(policy, 0);
  tried.begin(timeoutMs, 0);
  let seconds = 0;
  while (tried.beforeReconnection(failure(), seconds * 1_000) !== undefined) seconds += 1;
  return seconds - 1;
}

test("patience lasts for 60 s without a deadline", () => assert.equal(lastSecond({}), 59));
test("patience lasts until the deadline", () => assert.equal(lastSecond({}, 500_000), 499));
test("a caller's own patience ends before a later deadline", () => {
  assert.deepEqual([lastSecond({ patienceMs: 3_000 }, 500_000), lastSecond({ patienceMs: 3_000 }, 2_000)], [2, 1]);
});

test("what a call delivers renews patience, and delays begin again", () => {
  const renewed = delays({ patienceMs: 1_000 });
  assert.equal(renewed.beforeReconnection(failure(), 0), 50);
  assert.equal(renewed.beforeReconnection(failure(), 800), 100);
  renewed.renewPatience();
  assert.equal(renewed.lastFailure, undefined);
  assert.equal(renewed.beforeReconnection(failure(), 5_000), 50);
});

test("starts have a number of their own, and end with the deadline", () => {
  const retried = delays();
  retried.begin(80, 0);
  assert.equal(retried.beforeRetry(failure(), 0), 50);
  assert.equal(retried.beforeRetry(failure(), 0), undefined);
  const unhurried = delays();
  assert.deepEqual([1, 2, 3].map(() => unhurried.beforeRetry(failure(), 0)), [50, 100, undefined]);
});
