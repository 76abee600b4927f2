import type { Generation } from "@tokengrpc/tokenstreaming-v1";

import { type ClientOptions, Connection } from "./connection.js";
import { planStream, type Source, type StreamOptions } from "./plan.js";
import { TokenStream } from "./stream.js";

export interface ResumeOptions {
  /** The last sequence that was processed; default 0, everything. */
  after?: number;
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** Streams tokens from one server, or from the replicas behind one name. All calls fail with TokenStreamError. */
export class TokenStreamClient implements AsyncDisposable {
  readonly #connection: Connection;

  /** Connects to `target` (`host:port`, `unix:…`, `dns:///…`) when the first call is made. */
  constructor(target: string, options: ClientOptions = {}) {
    this.#connection = new Connection(target, options);
  }

  /** Starts a generation of a prompt or a whole request, when reading begins. */
  stream(source: Source, options: StreamOptions = {}): TokenStream {
    return new TokenStream(this.#connection, planStream(source, options));
  }

  /** Reads a generation that another call started. Leaving the stream leaves the generation alone. */
  resume(generationId: string, { after = 0, timeoutMs, signal }: ResumeOptions = {}): TokenStream {
    return new TokenStream(this.#connection, { generationId, after, resumable: true, timeoutMs, signal });
  }

  /** What is known of a generation: state, usage, kept events, outcome. */
  get(generationId: string): Promise<Generation> {
    return this.#connection.get(generationId);
  }

  /** Stops a generation for all its readers and answers it as it ended; again changes nothing. */
  cancel(generationId: string): Promise<Generation> {
    return this.#connection.cancel(generationId);
  }

  /** Ends the streams that are open, as if their readers stopped, and the connection. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
