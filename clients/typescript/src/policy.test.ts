// The pure parts: what follows a failure, waits, assembling, the request that is sent.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { describe, test } from "node:test";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { DeadlineAction, DisconnectAction, StreamTokensResponseSchema } from "@tokengrpc/tokenstreaming-v1";

import { Answer } from "./answer.js";
import { Code, type FailureDetail, TokenStreamError } from "./errors.js";
import { planStream } from "./plan.js";
import { defaultPolicy, nextStep, type Standing, type Step, waitMs } from "./policy.js";
import { serviceConfig } from "./serviceConfig.js";

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
  ["full, at the start", { reason: "OVERLOADED", advice: "RETRY" }, starting, "retry"],
  ["full, at the start of a reader's stream", { reason: "OVERLOADED", advice: "RETRY" }, reading, "reconnect"],
  ["full, while resuming", { reason: "OVERLOADED", advice: "RETRY" }, resumed, "reconnect"],
  ["ended by a drain", { reason: "DRAINING", advice: "RETRY", ended: true }, resumed, "raise"],
  ["no store", { reason: "STORE_UNAVAILABLE", advice: "RETRY" }, starting, "retry"],
  ["no store, while resuming", { reason: "STORE_UNAVAILABLE", advice: "RETRY" }, resumed, "reconnect"],
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

test("waits double up to a bound, and are drawn between 0 and that", () => {
  const failure = new TokenStreamError("it failed", { code: Code.UNAVAILABLE });
  const waits = [0, 1, 5, 6, 50].map((attempt) => waitMs(defaultPolicy, attempt, failure, 1));
  assert.deepEqual(waits, [50, 100, 1_600, 2_000, 2_000]);
  assert.equal(waitMs(defaultPolicy, 3, failure, 0), 0);
});

test("what the server asks for is added to the wait, unless it is negative", () => {
  const asks = (retryDelayMs: number) => new TokenStreamError("full", { code: Code.UNAVAILABLE, retryDelayMs });
  assert.deepEqual([waitMs(defaultPolicy, 0, asks(700), 1), waitMs(defaultPolicy, 0, asks(-700), 1)], [750, 50]);
});

test("a request is completed in a copy: own id, DETACH, the deadline its own", () => {
  const source = { maxOutputTokenCount: 5, input: { case: "prompt" as const, value: "hello" } };
  const plan = planStream(source, { timeoutMs: 1_000 });
  assert.equal(plan.request?.recovery?.disconnectAction, DisconnectAction.DETACH);
  assert.equal(plan.request.limits?.deadlineAction, DeadlineAction.FAIL);
  assert.ok(plan.generationId && plan.generationId === plan.request.generationId);
  assert.deepEqual(Object.keys(source), ["maxOutputTokenCount", "input"]);
});

test("a request that asks for CANCEL itself is not resumable", () => {
  const recovery = { disconnectAction: DisconnectAction.CANCEL };
  assert.equal(planStream({ recovery }, {}).resumable, false);
});

test("events that had come before are left out", () => {
  const answer = new Answer();
  answer.add(tokens(1, [0, "One"], [1, " two"]));
  assert.equal(answer.add(tokens(1, [0, "One"], [1, " two"])), false);
  assert.equal(answer.add(tokens(2, [2, " three"])), true);
  assert.deepEqual([answer.text, answer.sequence], ["One two three", 2]);
});

test("a missing token is a gap", () => {
  const answer = new Answer();
  answer.add(tokens(1, [0, "One"]));
  assert.throws(() => answer.add(tokens(3, [2, " three"])), { reason: "STREAM_GAP", code: Code.DATA_LOSS });
});

test("fragments of calls that interleave become whole calls", () => {
  const answer = new Answer();
  const fragments = [
    { callIndex: 1, id: "b", functionName: "g", argumentsFragment: "{" },
    { callIndex: 0, id: "a", functionName: "f", argumentsFragment: "{}" },
    { callIndex: 1, argumentsFragment: "}", opaque: new TextEncoder().encode("kept") },
  ];
  answer.add(create(StreamTokensResponseSchema, { sequence: 1, toolCallFragments: fragments }));
  const calls = answer.toolCalls.map((call) => [call.id, call.functionName, call.arguments, Buffer.from(call.opaque).toString()]);
  assert.deepEqual(calls, [["a", "f", "{}", ""], ["b", "g", "{}", "kept"]]);
});

test("the service config is the one that all languages share", async () => {
  const shared = await readFile(new URL("../../service_config.json", import.meta.url), "utf8");
  assert.equal(serviceConfig, shared);
});

function tokens(sequence: number, ...told: [index: number, text: string][]) {
  const init: MessageInitShape<typeof StreamTokensResponseSchema> = {
    sequence,
    tokens: told.map(([index, text]) => ({ index, text, count: 1 })),
  };
  return create(StreamTokensResponseSchema, init);
}
