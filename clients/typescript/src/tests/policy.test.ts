// What follows a failure.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Code, type FailureDetail, TokenStreamError } from "../errors.js";
import { nextStep, type Standing, type Step } from "../policy.js";

const starting = { resuming: false, begun: false, readOnly: false };
const started = { resuming: false, begun: true, readOnly: false };
const resumed = { resuming: true, begun: true, readOnly: false };
const reading = { resuming: true, begun: false, readOnly: true };

type Told = Partial<FailureDetail> | undefined;
const steps: [what: string, told: Told, standing: Standing, step: Step][] = [
  ["OK, cut on the way", undefined, started, "reconnect"],
  ["OK, cut while resuming", undefined, resumed, "reconnect"],
  ["OK, and nothing was left to read", undefined, reading, "end"],
  ["OK of a reader who got something", undefined, { ...reading, begun: true }, "reconnect"],
  ["a broken connection", { code: Code.UNAVAILABLE }, starting, "reconnect"],
  ["a stream that a proxy reset", { code: Code.INTERNAL }, started, "reconnect"],
  ["the caller's own deadline", { code: Code.DEADLINE_EXCEEDED }, started, "raise"],
  ["an unknown method", { code: Code.UNIMPLEMENTED }, starting, "raise"],
  ["too slow", { code: Code.UNAVAILABLE, reason: "READER_TOO_SLOW", advice: "RESUME" }, started, "reconnect"],
  ["a new reason, known advice", { reason: "NEW", advice: "RESUME" }, started, "reconnect"],
  ["a new reason that advises RETRY", { reason: "NEW", advice: "RETRY" }, starting, "raise"],
  ["a new reason, no advice", { code: Code.UNAVAILABLE, reason: "NEW" }, starting, "reconnect"],
  ["a new reason, no advice, other code", { code: Code.NOT_FOUND, reason: "NEW" }, resumed, "raise"],
  ["full, at the start", { reason: "OVERLOADED", advice: "RETRY" }, starting, "wait"],
  ["full, for good", { reason: "QUOTA_EXCEEDED", advice: "NEVER" }, starting, "raise"],
  ["full, at the start of a reader's stream", { reason: "OVERLOADED", advice: "RETRY" }, reading, "wait"],
  ["full, while resuming", { reason: "OVERLOADED", advice: "RETRY" }, resumed, "wait"],
  ["no quota left, while resuming", { reason: "QUOTA_EXCEEDED", advice: "NEVER" }, resumed, "wait"],
  ["ended by a drain", { reason: "DRAINING", advice: "RETRY", ended: true }, resumed, "raise"],
  ["no store", { reason: "STORE_UNAVAILABLE", advice: "RETRY" }, starting, "wait"],
  ["no store, while resuming", { reason: "STORE_UNAVAILABLE", advice: "RETRY" }, resumed, "wait"],
  ["ended without an event", { reason: "STORE_UNAVAILABLE", advice: "RETRY", ended: true }, starting, "raise"],
  ["no engine", { reason: "ENGINE_UNAVAILABLE", advice: "RETRY" }, starting, "retry"],
  ["no engine, for good", { reason: "ENGINE_UNAVAILABLE", advice: "NEVER" }, starting, "raise"],
  ["an engine lost", { reason: "ENGINE_LOST", advice: "RETRY", ended: true }, started, "raise"],
  ["forgotten", { reason: "GENERATION_NOT_FOUND", advice: "NEVER" }, resumed, "lost"],
  ["never known", { reason: "GENERATION_NOT_FOUND", advice: "NEVER" }, reading, "raise"],
];

describe("what follows a call that ended without `finished`", () => {
  for (const [what, told, standing, step] of steps) {
    test(`${what}: ${step}`, () => {
      const failure = told && new TokenStreamError("it failed", { code: Code.UNKNOWN, ...told });
      assert.equal(nextStep(failure, standing), step);
    });
  }
});
