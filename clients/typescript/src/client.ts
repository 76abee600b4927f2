import type { Generation } from "#stubs";

import type { Cursor } from "./cursor.js";
import { planResume, planStream, type ResumeOptions, type Source, type StreamOptions } from "./plan.js";
import { TokenStream } from "./stream.js";
import { type ClientOptions, Connection } from "./transport/connection.js";

/** Streams tokens from one server, or from the replicas behind one name. Failed calls throw TokenStreamError. */
export class TokenStreamClient implements AsyncDisposable {
  readonly #connection: Connection;

  /** Connects to `target` (`host:port`, `unix:…`, `dns:///…`) when the first call is made. */
  constructor(target: string, options: ClientOptions = {}) {
    this.#connection = new Connection(target, options);
  }

  /** Returns a stream that starts a generation for a prompt or a whole request when reading begins. */
  stream(source: Source, options: StreamOptions = {}): TokenStream {
    return new TokenStream(this.#connection, planStream(source, options));
  }

  /**
   * Reads on after a cursor, or its text; `new Cursor(id)` is the start of a generation of which only the id is known.
   * Closing the stream does not stop the generation, unless `cancelOnClose` is true. Throws INVALID_CURSOR.
   */
  resume(cursor: Cursor | string, options: ResumeOptions = {}): TokenStream {
    return new TokenStream(this.#connection, planResume(cursor, options));
  }

  /** Returns a generation's state, usage, retained events and outcome. */
  get(generationId: string): Promise<Generation> {
    return this.#connection.get(generationId);
  }

  /** Stops a generation for all its readers and returns its final state. Repeated calls have no effect. */
  cancel(generationId: string): Promise<Generation> {
    return this.#connection.cancel(generationId);
  }

  /** Closes all open streams, as their readers would, then the connection. */
  close(): Promise<void> {
    return this.#connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
