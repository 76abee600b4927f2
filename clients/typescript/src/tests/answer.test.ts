// Assembling: each event once, without gaps, with the checksum that the server has.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { StreamTokensResponseSchema } from "#stubs";

import { Answer } from "../answer.js";
import { Cursor } from "../cursor.js";
import { Code } from "../errors.js";

type Init = MessageInitShape<typeof StreamTokensResponseSchema>;

const start = new Cursor("chat-7");

test("events that had come before are left out", () => {
  const answer = new Answer(start);
  answer.add(tokens(1, [0, "One"], [1, " two"]));
  assert.equal(answer.add(tokens(1, [0, "One"], [1, " two"])), false);
  assert.equal(answer.add(tokens(2, [2, " three"])), true);
  assert.deepEqual([answer.text, answer.sequence], ["One two three", 2]);
});

test("a missing token is a gap", () => {
  const answer = new Answer(start);
  answer.add(tokens(1, [0, "One"]));
  assert.throws(() => answer.add(tokens(3, [2, " three"])), { reason: "STREAM_GAP", code: Code.DATA_LOSS });
});

test("fragments of calls that interleave become whole calls", () => {
  const answer = new Answer(start);
  const fragments = [
    { callIndex: 1, id: "b", functionName: "g", argumentsFragment: "{" },
    { callIndex: 0, id: "a", functionName: "f", argumentsFragment: "{}" },
    { callIndex: 1, argumentsFragment: "}", opaque: new TextEncoder().encode("kept") },
  ];
  answer.add(create(StreamTokensResponseSchema, { sequence: 1, toolCallFragments: fragments }));
  const calls = answer.toolCalls.map((call) => [call.id, call.functionName, call.arguments, Buffer.from(call.opaque).toString()]);
  assert.deepEqual(calls, [["a", "f", "{}", ""], ["b", "g", "{}", "kept"]]);
});

test("a message with a gap leaves the answer as it was", () => {
  const answer = new Answer(start);
  answer.add(tokens(1, [0, "One"]));
  assert.throws(() => answer.add(tokens(3, [1, " two"], [3, " four"])), { reason: "STREAM_GAP" });
  assert.deepEqual([answer.text, answer.sequence], ["One", 1]);
});

test("the checksum covers all output in order, and the cursor has it", () => {
  const answer = new Answer(start);
  const token = { index: 0, count: 1, text: "ä", reasoningText: "why", refusalText: "no" };
  const toolCallFragments = [{ id: "a", functionName: "f", argumentsFragment: "{}" }];
  assert.equal(answer.add(message({ sequence: 1, tokens: [token], outputChecksum: crc32("äwhyno") })), true);
  assert.equal(answer.add(message({ sequence: 2, toolCallFragments, outputChecksum: crc32("äwhynoaf{}") })), true);
  assert.equal(answer.cursor.checksum, crc32("äwhynoaf{}"));
});

test("another checksum is an error, and its message is not added", () => {
  const answer = new Answer(start);
  answer.add(tokens(1, [0, "One"]));
  const told = { sequence: 2, tokens: [{ index: 1, count: 1, text: " two" }], outputChecksum: crc32("One too") };
  assert.throws(() => answer.add(message(told)), { reason: "CHECKSUM_MISMATCH", code: Code.DATA_LOSS });
  assert.deepEqual([answer.text, answer.sequence, answer.cursor.checksum], ["One", 1, crc32("One")]);
});

test("before any output, a cursor has no checksum", () => {
  const answer = new Answer(start);
  answer.add(message({ sequence: 1, event: { case: "started", value: { logIncarnation: "k3Jq0wXb" } } }));
  assert.equal(answer.cursor.toString(), "tg1.1..k3Jq0wXb.chat-7");
});

test("an unknown checksum is that of the first message that has one", () => {
  const answer = new Answer(new Cursor("chat-7", { sequence: 5 }));
  answer.add(tokens(6, [4, " five"]));
  assert.equal(answer.cursor.checksum, undefined);
  answer.add(message({ sequence: 7, tokens: [{ index: 5, count: 1, text: " six" }], outputChecksum: 7 }));
  assert.equal(answer.cursor.checksum, 7);
  assert.throws(() => answer.add(message({ sequence: 8, tokens: [{ index: 6, count: 1, text: "." }], outputChecksum: 7 })), {
    reason: "CHECKSUM_MISMATCH",
  });
});

test("a known checksum continues", () => {
  const answer = new Answer(new Cursor("chat-7", { sequence: 5, checksum: crc32("One") }));
  const told = { sequence: 6, tokens: [{ index: 1, count: 1, text: " two" }], outputChecksum: crc32("One two") };
  assert.equal(answer.add(message(told)), true);
});

test("`attached` names the stored events", () => {
  const answer = new Answer(new Cursor("chat-7", { sequence: 5 }));
  answer.add(message({ sequence: 5, notice: { case: "attached", value: { logIncarnation: "k3Jq0wXb" } } }));
  assert.equal(answer.cursor.logIncarnation, "k3Jq0wXb");
});

const message = (init: Init) => create(StreamTokensResponseSchema, init);

function tokens(sequence: number, ...told: [index: number, text: string][]) {
  return message({ sequence, tokens: told.map(([index, text]) => ({ index, text, count: 1 })) });
}
