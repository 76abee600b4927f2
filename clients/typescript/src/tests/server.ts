// A real server, in this process, that answers as a test says.

import type { TestContext } from "node:test";
import { crc32 } from "node:zlib";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerUnaryCall, type ServerWritableStream } from "@grpc/grpc-js";
import {
  type CancelGenerationRequest,
  CancelGenerationResponseSchema,
  FinishReason,
  type ResumeTokensRequest,
  type StreamTokensRequest,
  type StreamTokensResponse,
  StreamTokensResponseSchema,
  TokenStream as Service,
} from "#stubs";

import { type ClientOptions, type Code, methodDefinition, type TokenStream, TokenStreamClient } from "../index.js";

export type Call = ServerWritableStream<StreamTokensRequest | ResumeTokensRequest, StreamTokensResponse>;
export type Init = MessageInitShape<typeof StreamTokensResponseSchema>;

export const message = (init: Init) => create(StreamTokensResponseSchema, init);

/** The event `index + 1`, with one token. */
export const token = (index: number, text: string): Init => ({
  sequence: index + 1,
  tokens: [{ index, count: 1, text }],
});

/** A generation of two tokens. */
export const started: Init = { sequence: 1, event: { case: "started", value: { logIncarnation: "k3Jq0wXb" } } };
export const one: Init = { ...token(0, "One"), sequence: 2, outputChecksum: crc32("One") };
export const two: Init = { ...token(1, " two"), sequence: 3, outputChecksum: crc32("One two") };
export const end: Init = { sequence: 4, event: { case: "finished", value: { finishReason: FinishReason.END } } };

/** Sends the messages; the call stays open. */
export const send = (...told: Init[]) => (call: Call) => told.forEach((init) => call.write(message(init)));
export const finish = (...told: Init[]) => (call: Call) => (send(...told)(call), call.end());
export const fail = (code: Code, details: string, ...told: Init[]) => (call: Call) => (
  send(...told)(call), call.emit("error", { code, details })
);

/** Serves until the test ends. Each streaming call is answered by the next of `replies`, or by the last one. */
export async function serve(context: Pick<TestContext, "after">, ...replies: ((call: Call) => void)[]) {
  const calls: Call[] = [];
  const cancelled: string[] = [];
  const answer = (call: Call) => replies[Math.min(calls.push(call), replies.length) - 1]?.(call);
  const methods = {
    streamTokens: methodDefinition(Service.method.streamTokens),
    resumeTokens: methodDefinition(Service.method.resumeTokens),
    cancelGeneration: methodDefinition(Service.method.cancelGeneration),
  };
  const server = new Server();
  server.addService(methods, {
    streamTokens: answer,
    resumeTokens: answer,
    cancelGeneration: (
      { request }: ServerUnaryCall<CancelGenerationRequest, unknown>,
      respond: (error: null, response: unknown) => void,
    ) => {
      cancelled.push(request.generationId);
      respond(null, create(CancelGenerationResponseSchema));
    },
  });
  context.after(() => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    ),
  );
  return { calls, cancelled, server, target: `127.0.0.1:${port}` };
}

/** Connects until the test ends. */
export function connect(context: TestContext, target: string, options: ClientOptions = {}): TokenStreamClient {
  const client = new TokenStreamClient(target, options);
  context.after(() => client.close());
  return client;
}

/** Reads a stream to its end. */
export async function read(stream: TokenStream): Promise<void> {
  for await (const _ of stream);
}
