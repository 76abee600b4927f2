// A bridge between browsers and tokengrpc: server-sent events whose ids are cursors. See ../../README.md.

import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";

import { Cursor, TokenStreamClient, TokenStreamError } from "@tokengrpc/client";
import { DisconnectAction, Role } from "@tokengrpc/client/stubs";

import { pageFiles } from "./page.js";
import { failure, Readers } from "./readers.js";

/** The browser sent something that is not a request. */
class InvalidRequest extends Error {}

// How long a generation waits for a tab.
const detachTtl = { seconds: process.env["ON_CLOSE"] === "cancel" ? 3n : 30n };

const client = new TokenStreamClient(process.env["TOKENGRPC_TARGET"] ?? "127.0.0.1:50051");
const readers = new Readers(client);
const files = await pageFiles();

const server = createServer((request, response) => {
  handle(request, response).catch((error: unknown) => refuse(response, error));
});
try {
  server.listen(Number(process.env["PORT"] ?? 8080), "127.0.0.1");
  await once(server, "listening");
} catch (error) {
  console.error(`error: ${(error as Error).message}: set PORT to a free port`);
  process.exit(1);
}
console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`);

async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? "", "http://bridge");
  // Where a browser's reconnect goes on, or the address itself.
  const cursor = () => Cursor.parse(String(request.headers["last-event-id"] || searchParams.get("cursor") || ""));
  switch (`${request.method} ${pathname}`) {
    case "POST /generations":
      return answer(response, 201, { cursor: await start(await json(request).catch(() => undefined)) });
    case "GET /stream":
      return readers.read(cursor(), response);
    case "POST /cut":
      readers.cut(cursor().generationId);
      response.writeHead(204).end();
      return;
  }
  const file = request.method === "GET" ? files.get(pathname) : undefined;
  if (file === undefined) return answer(response, 404, { reason: "NOT_FOUND", message: "there is no such page" });
  response.writeHead(200, { "Content-Type": file.type }).end(file.content);
}

/** Starts a generation, and leaves it to the tab that will read it. */
async function start(body: unknown): Promise<Cursor> {
  const { prompt, max_tokens: maxTokens = null } = (body ?? {}) as Record<string, unknown>;
  if (typeof prompt !== "string" || prompt === "") throw new InvalidRequest("prompt: give a text");
  if (maxTokens !== null && !isCount(maxTokens)) throw new InvalidRequest("max_tokens: give a positive number, or none");
  const stream = client.stream({
    input: { case: "conversation", value: { messages: [{ role: Role.USER, text: prompt }] } },
    recovery: { disconnectAction: DisconnectAction.DETACH, detachTtl },
    ...(maxTokens === null ? {} : { maxOutputTokenCount: maxTokens }),
  });
  // With its first message, the generation has started, and the loop ends.
  for await (const _ of stream.messages()) stream.detach();
  return stream.cursor;
}

const isCount = (value: unknown): value is number => Number.isInteger(value) && Number(value) > 0 && Number(value) < 2 ** 31;

/** Answers with the reason of an error: 400 if the browser sent something wrong, 502 if the server refuses it. */
function refuse(response: ServerResponse, error: unknown): void {
  if (error instanceof InvalidRequest) return answer(response, 400, { reason: "INVALID_REQUEST", message: error.message });
  if (error instanceof TokenStreamError) return answer(response, error.reason === "INVALID_CURSOR" ? 400 : 502, failure(error));
  console.error(error);
  response.destroy();
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}
