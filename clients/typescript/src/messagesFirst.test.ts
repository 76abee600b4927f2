// Over a real connection: a reader who is behind gets all messages of a stream that ends with an error.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";

import { create } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerWritableStream } from "@grpc/grpc-js";
import {
  FinishReason,
  type StreamTokensRequest,
  type StreamTokensResponse,
  StreamTokensResponseSchema,
  TokenStream as Service,
} from "@tokengrpc/tokenstreaming-v1";

import { Code, methodDefinition, TokenStreamClient, TokenStreamError } from "./index.js";

const count = 500;

/** Writes everything at once: events 1 to `count` are tokens, the last event is `finished` with an error. */
function streamTokens(call: ServerWritableStream<StreamTokensRequest, StreamTokensResponse>): void {
  for (let index = 0; index < count; index++) {
    call.write(create(StreamTokensResponseSchema, { sequence: index + 1, tokens: [{ index, count: 1, text: "." }] }));
  }
  const status = { code: Code.UNAVAILABLE, message: "the engine was lost" };
  const value = { finishReason: FinishReason.ERROR, status };
  call.write(create(StreamTokensResponseSchema, { sequence: count + 1, event: { case: "finished", value } }));
  call.emit("error", { code: status.code, details: status.message });
}

test("a slow reader gets every token and the end, then the error", async (context) => {
  const server = new Server();
  server.addService({ streamTokens: methodDefinition(Service.method.streamTokens) }, { streamTokens });
  context.after(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  );
  const client = new TokenStreamClient(`127.0.0.1:${port}`);
  context.after(() => client.close());
  const stream = client.stream("hello");
  await assert.rejects(async () => {
    for await (const _ of stream) await turn();
  }, TokenStreamError);
  assert.equal(stream.text.length, count);
  assert.equal(stream.finishReason, "ERROR");
  assert.equal(stream.resumes, 0);
});
