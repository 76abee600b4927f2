// Over a real connection: a slow reader receives all messages of a stream that ends with an error.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";

import { FinishReason } from "#stubs";

import { Code, TokenStreamError } from "../index.js";
import { type Call, connect, message, serve, token } from "./server.js";

const count = 500;

/** Writes everything at once: events 1 to `count` are tokens, the last event is `finished` with an error. */
function fail(call: Call): void {
  for (let index = 0; index < count; index++) call.write(message(token(index, ".")));
  const status = { code: Code.UNAVAILABLE, message: "the engine was lost" };
  const value = { finishReason: FinishReason.ERROR, status };
  call.write(message({ sequence: count + 1, event: { case: "finished", value } }));
  call.emit("error", { code: status.code, details: status.message });
}

test("a slow reader gets every token and the end, then the error", async (context) => {
  const { target } = await serve(context, fail);
  const stream = connect(context, target).stream("hello");
  await assert.rejects(async () => {
    for await (const _ of stream) await turn();
  }, TokenStreamError);
  assert.equal(stream.text.length, count);
  assert.equal(stream.finishReason, "ERROR");
  assert.equal(stream.resumes, 0);
});
