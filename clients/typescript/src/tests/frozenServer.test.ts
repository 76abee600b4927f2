// A server process that is stopped with SIGSTOP, and wakes up, or does not.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { test, type TestContext } from "node:test";

import { TokenStreamError } from "../index.js";
import { connect } from "./server.js";

// Pings that are as close as a test needs; the defaults notice a frozen server after 15 s.
const channelOptions = { "grpc.keepalive_time_ms": 100, "grpc.keepalive_timeout_ms": 400 };

/** Starts a server that sends one token, and ends the generation for a caller that resumes. */
async function serveApart(context: TestContext): Promise<{ child: ChildProcess; target: string }> {
  const child = spawn(process.execPath, [new URL("frozenServer.child.js", import.meta.url).pathname], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  context.after(() => child.kill("SIGKILL"));
  const [target] = (await once(child.stdout, "data")) as [Buffer];
  return { child, target: target.toString().trim() };
}

test("a frozen server is told as such", async (context) => {
  const { child, target } = await serveApart(context);
  const policy = { patienceMs: 500 };
  const stream = connect(context, target, { channelOptions, policy }).stream("hello");
  const details =
    "the connection broke and could not be resumed (the server did not answer a keepalive ping for 5 s); " +
    "resume with the cursor";
  await assert.rejects(async () => {
    for await (const _ of stream) child.kill("SIGSTOP");
  }, { reason: "CONNECTION_LOST", advice: "RESUME", details });
});

test("a stream goes on when its server wakes up", async (context) => {
  const { child, target } = await serveApart(context);
  const stream = connect(context, target, { channelOptions }).stream("hello");
  const frozen = connect(context, target, { channelOptions, policy: { patienceMs: 1 } }).stream("hello");
  const tokens = stream[Symbol.asyncIterator]();
  await tokens.next();
  // Another client, without patience, tells when the server has been found frozen.
  await assert.rejects(async () => {
    for await (const _ of frozen) child.kill("SIGSTOP");
  }, TokenStreamError);
  child.kill("SIGCONT");
  assert.equal((await tokens.next()).value?.text, " two");
  assert.equal((await tokens.next()).done, true);
  assert.ok(stream.resumes > 0);
});

test("a broken connection is not taken for a frozen server", async (context) => {
  const { child, target } = await serveApart(context);
  const stream = connect(context, target, { channelOptions, policy: { patienceMs: 0 } }).stream("hello");
  await assert.rejects(async () => {
    for await (const _ of stream) child.kill("SIGKILL");
  }, { reason: "CONNECTION_LOST", details: /^(?!.*keepalive)/ });
});
