// The streams that tabs read.

import type { ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

import { Code, type Cursor, type TokenStream, type TokenStreamClient, TokenStreamError } from "@tokengrpc/client";
import { FinishReason, type Generation, type Token } from "@tokengrpc/client/stubs";

const headers = {
  "Content-Type": "text/event-stream",
  "Cache-Control": "no-store",
  // Lets nginx pass on each event at once.
  "X-Accel-Buffering": "no",
};
const pingMs = 15_000;

export class Readers {
  readonly #streams = new Set<TokenStream>();

  constructor(readonly client: TokenStreamClient) {}

  /** Sends what follows the cursor. A closed tab ends this, and leaves the generation to another reader. */
  async read(cursor: Cursor, response: ServerResponse): Promise<void> {
    const stream = this.client.resume(cursor);
    this.#streams.add(stream);
    response.once("close", () => this.#leave(stream));
    const pings = setInterval(() => response.write(": ping\n\n"), pingMs);
    try {
      // This waits for a tab that reads slowly.
      await pipeline(Readable.from(this.#events(stream)), response.writeHead(200, headers));
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ERR_STREAM_PREMATURE_CLOSE")) throw error;
    } finally {
      clearInterval(pings);
    }
  }

  /** Breaks off what tabs read of a generation, to try out what they do then. */
  cut(generationId: string): void {
    for (const stream of this.#streams) if (stream.generationId === generationId) this.#leave(stream);
  }

  /** The loop over the stream's messages then ends normally, without the last event. */
  #leave(stream: TokenStream): void {
    this.#streams.delete(stream);
    stream.detach();
  }

  async *#events(stream: TokenStream): AsyncGenerator<string, void, undefined> {
    yield "retry: 500\n\n";
    try {
      for await (const { tokens } of stream.messages()) {
        if (tokens.length > 0) yield `id: ${stream.cursor}\n${data(textOf(tokens))}`;
      }
      if (!this.#streams.has(stream)) return;
      // Not from the stream, which has nothing to read if the cursor was already at the end.
      const generation = await this.client.get(stream.generationId);
      yield `event: finished\nid: ${stream.cursor}\n${data(endOf(generation))}`;
    } catch (error) {
      if (!(error instanceof TokenStreamError)) throw error;
      yield `event: failed\n${data(failure(error))}`;
    }
  }
}

/** The reason and the message of an error, for the page. */
export const failure = ({ code, details, reason }: TokenStreamError) => ({ reason: reason || Code[code], message: details });

const data = (value: object) => `data: ${JSON.stringify(value)}\n\n`;
const ms = ({ seconds, nanos }: { seconds: bigint; nanos: number }) => Number(seconds) * 1e3 + nanos / 1e6;

/** The text of a message's tokens, with how many they are and when the server had them. */
function textOf(tokens: Token[]): object {
  const times = tokens.map(({ count, emitTime }) => ({ count, at: emitTime ? ms(emitTime) : 0 }));
  return { text: tokens.map(({ text }) => text).join(""), tokens: times };
}

/** How a generation ended, with its usage. */
function endOf({ finished, usage }: Generation): object {
  const first = finished?.timing?.timeToFirstToken;
  return {
    finish_reason: finished ? (FinishReason[finished.finishReason] ?? String(finished.finishReason)) : "",
    input_tokens: usage?.inputTokenCount ?? 0,
    output_tokens: usage?.outputTokenCount ?? 0,
    first_token_ms: first ? ms(first) : null,
  };
}
