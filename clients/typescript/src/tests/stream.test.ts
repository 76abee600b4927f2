// Streams over real connections: resuming, leaving, giving up.

import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";

import type { ResumeTokensRequest } from "#stubs";

import { Code, Cursor, TokenStreamClient } from "../index.js";
import { type Call, connect, end, fail, finish, one, read, send, serve, started, two } from "./server.js";

const resumed = (call: Call | undefined) => call?.request as ResumeTokensRequest;

test("a broken stream resumes with cursor, incarnation and checksum", async (context) => {
  const { calls, target } = await serve(context, fail(Code.UNAVAILABLE, "reset", started, one), finish(two, end));
  const stream = connect(context, target).stream("hello", { generationId: "chat-7" });
  await read(stream);
  const { afterSequence, logIncarnation, outputChecksum } = resumed(calls[1]);
  assert.deepEqual([afterSequence, logIncarnation, outputChecksum], [2, "k3Jq0wXb", crc32("One")]);
  assert.deepEqual([stream.text, stream.resumes], ["One two", 1]);
});

test("before any output, a stream resumes without a checksum", async (context) => {
  const { calls, target } = await serve(context, fail(Code.UNAVAILABLE, "reset", started), finish(one, two, end));
  await read(connect(context, target).stream("hello"));
  assert.equal(resumed(calls[1]).outputChecksum, undefined);
});

test("another reader goes on where one has detached, and nobody cancels", async (context) => {
  const { calls, cancelled, target } = await serve(context, send(started, one), finish(two, end));
  const client = connect(context, target);
  const first = client.stream("hello", { generationId: "chat-7" });
  const seen: string[] = [];
  let cursor = "";
  for await (const { text } of first) {
    seen.push(text);
    cursor = first.detach().toString();
  }
  assert.equal(cursor, "tg1.2.4221c011.k3Jq0wXb.chat-7");
  const second = client.resume(cursor);
  for await (const { text } of second) seen.push(text);
  assert.deepEqual(seen, ["One", " two"]);
  assert.equal(resumed(calls[1]).outputChecksum, crc32("One"));
  assert.equal(second.cursor.checksum, crc32("One two"));
  await client.close();
  assert.deepEqual(cancelled, []);
});

test("a stream that is not resumable cannot be detached, and goes on", async (context) => {
  const { target } = await serve(context, finish(started, one, two, end));
  const stream = connect(context, target).stream("hello", { resumable: false });
  for await (const _ of stream) {
    assert.throws(() => stream.detach(), { reason: "NOT_RESUMABLE", code: Code.FAILED_PRECONDITION });
  }
  assert.deepEqual([stream.text, stream.error], ["One two", undefined]);
});

for (const cancelOnClose of [false, true]) {
  test(`a reader that leaves ${cancelOnClose ? "cancels if it asked for that" : "cancels nothing"}`, async (context) => {
    const { cancelled, target } = await serve(context, send(one));
    const stream = connect(context, target).resume(new Cursor("chat-7", { sequence: 1 }), { cancelOnClose });
    for await (const _ of stream) break;
    assert.deepEqual(cancelled, cancelOnClose ? ["chat-7"] : []);
  });
}

test("output that differs from the server's ends the stream and its generation", async (context) => {
  const { cancelled, target } = await serve(context, send(started, one, { ...two, outputChecksum: 7 }));
  const client = connect(context, target);
  const stream = client.stream("hello", { generationId: "chat-7" });
  await assert.rejects(read(stream), { reason: "CHECKSUM_MISMATCH", lastSequence: 2, partialText: "One" });
  await client.close();
  assert.deepEqual(cancelled, ["chat-7"]);
});

test("patience ends with the cause, and says that the cursor is still good", async (context) => {
  const { target } = await serve(
    context,
    fail(Code.UNAVAILABLE, "the proxy restarts", started, one),
    fail(Code.UNAVAILABLE, "the proxy restarts"),
  );
  const stream = connect(context, target, { policy: { patienceMs: 200 } }).stream("hello");
  const details = "the connection broke and could not be resumed (the proxy restarts); resume with the cursor";
  await assert.rejects(read(stream), { reason: "CONNECTION_LOST", advice: "RESUME", details });
  assert.deepEqual(stream.error?.cursor, stream.cursor);
  assert.ok(stream.resumes > 0);
});

test("a heartbeat ends a row of failures", async (context) => {
  const beat = { sequence: 2, notice: { case: "heartbeat" as const, value: {} } };
  const dies = fail(Code.UNAVAILABLE, "reset", beat);
  const rows = Array.from({ length: 12 }, () => dies);
  const { target } = await serve(context, fail(Code.UNAVAILABLE, "reset", started, one), ...rows, finish(two, end));
  // Without a heartbeat, the third delay alone would be longer than patience.
  const policy = { patienceMs: 1_000, initialBackoffMs: 100, backoffFactor: 100, maxBackoffMs: 100_000 };
  const stream = connect(context, target, { policy }).stream("hello");
  await read(stream);
  assert.deepEqual([stream.text, stream.resumes], ["One two", 13]);
});

test("after the end, a reader that would cancel has nothing to cancel", async (context) => {
  const { cancelled, target } = await serve(context, finish());
  const client = connect(context, target);
  await read(client.resume("tg1.4.4221c011.k3Jq0wXb.chat-7", { cancelOnClose: true }));
  await client.close();
  assert.deepEqual(cancelled, []);
});

test("a text that is not a cursor is refused before any call", async (context) => {
  const { calls, target } = await serve(context, finish());
  const details = '"chat-7" is not a cursor; pass one as the stream gave it';
  assert.throws(() => connect(context, target).resume("chat-7"), { reason: "INVALID_CURSOR", details });
  assert.deepEqual(calls, []);
});

test("a closed client says so", async (context) => {
  const { target } = await serve(context, finish(started, end));
  const client = new TokenStreamClient(target);
  await client.close();
  const closed = { reason: "CLIENT_CLOSED", code: Code.FAILED_PRECONDITION };
  await assert.rejects(read(client.stream("hello")), closed);
  await assert.rejects(client.get("chat-7"), closed);
});

test("a function returns the token of each call, also of one that resumes", async (context) => {
  const { calls, target } = await serve(context, fail(Code.UNAVAILABLE, "reset", started, one), finish(two, end));
  let asked = 0;
  await read(connect(context, target, { token: () => `token-${++asked}` }).stream("hello"));
  const sent = calls.map((call) => call.metadata.get("authorization"));
  assert.deepEqual(sent, [["Bearer token-1"], ["Bearer token-2"]]);
});
