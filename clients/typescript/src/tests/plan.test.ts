// The request that is sent, and what the caller's options become.

import assert from "node:assert/strict";
import { test } from "node:test";

import { DeadlineAction, DisconnectAction } from "#stubs";

import { planResume, planStream } from "../plan.js";

test("a request is completed in a copy: own id, DETACH, the deadline its own", () => {
  const source = { maxOutputTokenCount: 5, input: { case: "prompt" as const, value: "hello" } };
  const plan = planStream(source, { timeoutMs: 1_000 });
  assert.equal(plan.request?.recovery?.disconnectAction, DisconnectAction.DETACH);
  assert.equal(plan.request.limits?.deadlineAction, DeadlineAction.FAIL);
  assert.ok(plan.cursor.generationId && plan.cursor.generationId === plan.request.generationId);
  assert.deepEqual(Object.keys(source), ["maxOutputTokenCount", "input"]);
});

test("a request that asks for CANCEL itself is not resumable", () => {
  const recovery = { disconnectAction: DisconnectAction.CANCEL };
  assert.equal(planStream({ recovery }, {}).resumable, false);
});

test("a stream of a cursor cancels its generation only if its caller asks for that", () => {
  const text = "tg1.57.9ae0daaf.k3Jq0wXb.chat-7";
  assert.equal(planResume(text, {}).cancelOnClose, false);
  assert.equal(planResume(text, { cancelOnClose: true }).cancelOnClose, true);
  assert.equal(planResume(text, {}).cursor.toString(), text);
});

test("a timeout that is over already is refused", () => {
  assert.throws(() => planStream("hello", { timeoutMs: 0 }), RangeError);
  assert.throws(() => planResume("tg1.0...chat-7", { timeoutMs: -1 }), RangeError);
});
