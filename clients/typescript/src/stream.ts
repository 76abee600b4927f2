// One generation as an asynchronous iterable of tokens, for as many connections as that takes.

import { setTimeout as sleep } from "node:timers/promises";

import type { ClientReadableStream } from "@grpc/grpc-js";
import type { StreamTokensResponse, Token } from "@tokengrpc/tokenstreaming-v1";

import { Answer } from "./answer.js";
import type { Connection } from "./connection.js";
import { Code, fromCall, fromStatus, TokenStreamError } from "./errors.js";
import type { Plan } from "./plan.js";
import { nextStep, waitMs } from "./policy.js";

// For a call's trailers once its generation has finished: they say nothing new, but the server has closed its
// books when they come.
const trailersTimeoutMs = 1_000;

/**
 * The tokens of one generation; read once, with `for await`. Leaving the loop early, closing, or aborting the
 * signal stops the generation on the server, unless the stream only reads what another call started.
 *
 * Throws TokenStreamError while it is read; what had arrived stays readable here.
 */
export class TokenStream extends Answer implements AsyncIterable<Token>, AsyncDisposable {
  readonly generationId: string;
  error: TokenStreamError | undefined;
  #call: ClientReadableStream<StreamTokensResponse> | undefined;
  #status: Promise<unknown> | undefined;
  #closed: Promise<void> | undefined;
  #deadline = Infinity;
  #opened = false;
  #calls = 0;
  // Calls in a row that brought nothing new, and further starts.
  #attempts = 0;
  #retries = 0;
  readonly #closing = new AbortController();
  readonly #connection: Connection;
  readonly #plan: Plan;

  /** Made by TokenStreamClient; the call itself is made when reading begins. */
  constructor(connection: Connection, plan: Plan) {
    super(plan.after);
    this.#connection = connection;
    this.#plan = plan;
    this.generationId = plan.generationId;
  }

  /** How often the stream called again after its first call. */
  get resumes(): number {
    return Math.max(0, this.#calls - 1);
  }

  /** All tokens, each once, in order. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Token, void, undefined> {
    for await (const message of this.messages()) yield* message.tokens;
  }

  /** All messages as they come, notices included, without events that had arrived before. */
  async *messages(): AsyncGenerator<StreamTokensResponse, void, undefined> {
    if (this.#opened || this.#closed) throw new Error("a stream is read once: call client.stream() again");
    this.#open();
    try {
      for (let delayMs: number | undefined = 0; delayMs !== undefined; ) {
        await this.#wait(delayMs);
        const resuming = this.#plan.request === undefined || this.sequence > 0;
        let failure: TokenStreamError | undefined;
        try {
          for await (const message of this.#startCall(resuming)) {
            const before = this.sequence;
            const isNew = this.add(message);
            if (this.sequence > before) this.#attempts = 0;
            if (isNew) yield message;
            if (this.finish || this.#closed) break;
          }
        } catch (error) {
          if (!this.#closed) failure = error instanceof TokenStreamError ? error : fromCall(error);
        }
        if (this.#closed) throw this.#whyClosed();
        if (this.finish && !failure) await this.#trailers();
        delayMs = this.#next(failure, resuming);
      }
    } finally {
      await this.close();
    }
  }

  /** Ends the stream and, when its generation still runs and is this stream's own, the generation. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open(): void {
    const { signal, timeoutMs } = this.#plan;
    signal?.throwIfAborted();
    signal?.addEventListener("abort", () => void this.close(), { once: true, signal: this.#closing.signal });
    if (timeoutMs !== undefined) this.#deadline = performance.now() + timeoutMs;
    this.#opened = true;
    this.#connection.open.add(this);
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    this.#connection.open.delete(this);
    this.#call?.cancel();
    if (!this.#abandoned) return;
    const left = this.#connection.leave(this.generationId);
    // An error should not wait for it; the client's close() does.
    if (this.error === undefined) await left;
  }

  /** Whether the generation may go on though nobody will come back: CancelGeneration is due. */
  get #abandoned(): boolean {
    if (!this.#plan.request || !this.#plan.resumable || !this.#call || this.finish) return false;
    if (this.error === undefined || this.error.reason === "STREAM_GAP") return true;
    return this.error.code === Code.DEADLINE_EXCEEDED && !this.error.ended;
  }

  get #leftMs(): number {
    return Math.max(0, this.#deadline - performance.now());
  }

  get #begun(): boolean {
    return this.sequence > this.#plan.after;
  }

  async #wait(delayMs: number): Promise<void> {
    if (delayMs > 0) await sleep(delayMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    if (this.#closed) throw this.#whyClosed();
  }

  #startCall(resuming: boolean): ClientReadableStream<StreamTokensResponse> {
    this.#call?.cancel();
    this.#calls += 1;
    this.#call = resuming
      ? this.#connection.resume(this.generationId, this.sequence, this.#leftMs)
      : this.#connection.start(this.#plan.request!, this.#leftMs);
    // Listened for from the start: it comes while a reader who is behind still has messages to take.
    this.#status = new Promise((resolve) => this.#call!.once("status", resolve));
    // Once its iterator is left, nobody else would take its error, and Node would end the process.
    return this.#call.on("error", () => undefined);
  }

  /** What follows a call that ended: how long to wait before the next one, undefined at a good end, or an error. */
  #next(failure: TokenStreamError | undefined, resuming: boolean): number | undefined {
    if (this.finish) {
      const { status } = this.finish;
      if (status && status.code !== Code.OK) throw this.#completed(fromStatus(status));
      return undefined;
    }
    const readOnly = this.#plan.request === undefined;
    switch (nextStep(failure, { resuming, begun: this.#begun, readOnly })) {
      case "end":
        return undefined;
      case "reconnect":
        return this.#reconnect(failure ?? cutShort());
      case "retry":
        return this.#retry(failure!, failure!);
      case "lost":
        return this.#restart(failure!);
      case "raise":
        throw this.#completed(failure!);
    }
  }

  #reconnect(failure: TokenStreamError): number {
    const delayMs = this.#plan.resumable && this.#delay(this.#attempts, this.#connection.policy.attempts, failure);
    if (delayMs === false) throw this.#completed(this.#broken(failure));
    this.#attempts += 1;
    return delayMs;
  }

  #retry(failure: TokenStreamError, otherwise: TokenStreamError): number {
    const delayMs = this.#plan.request && this.#delay(this.#retries, this.#connection.policy.retryAttempts, failure);
    if (typeof delayMs !== "number") throw this.#completed(otherwise);
    this.#retries += 1;
    return delayMs;
  }

  /** Starts anew when no output had come: the server has forgotten the generation, as after a crash. */
  #restart(failure: TokenStreamError): number {
    const lost = generationLost(failure);
    if (failure.reason !== "GENERATION_NOT_FOUND" || this.hasOutput) throw this.#completed(lost);
    this.restart();
    return this.#retry(failure, lost);
  }

  /** How long to wait before another attempt, of which there are at most so many; false when there is none. */
  #delay(done: number, most: number, failure: TokenStreamError): number | false {
    const { policy } = this.#connection;
    const delayMs = waitMs(policy, done, failure, Math.random());
    return done < most && failure.retryDelayMs <= policy.maxRetryDelayMs && delayMs < this.#leftMs && delayMs;
  }

  async #trailers(): Promise<void> {
    const enough = new AbortController();
    const waited = sleep(trailersTimeoutMs, undefined, { signal: enough.signal }).catch(() => undefined);
    await Promise.race([this.#status, waited]);
    enough.abort();
  }

  /** The error of a connection that is given up: the server's own where it gave a reason. */
  #broken(cause: TokenStreamError): TokenStreamError {
    if (cause.reason || (!this.#begun && cause.code === Code.UNAVAILABLE)) return cause;
    const tried = this.#attempts > 0 ? ` and ${this.#attempts} attempts to resume failed` : "";
    const advice = this.#begun && this.#plan.resumable ? "RESUME" : "RETRY";
    const told = { code: cause.code, reason: "CONNECTION_LOST", advice } as const;
    return new TokenStreamError(`the connection broke${tried} (${cause.details})`, told, { cause });
  }

  /** Adds what this side knows. The cursor is the reader's: the server may be ahead of it. */
  #completed(error: TokenStreamError): TokenStreamError {
    this.error = error;
    error.generationId ||= this.generationId;
    error.lastSequence = this.sequence;
    error.usage ??= this.usage;
    error.partialText = this.text;
    return error;
  }

  #whyClosed(): unknown {
    const signal = this.#plan.signal;
    const told = { code: Code.CANCELLED, reason: "CANCELLED" };
    return signal?.aborted ? signal.reason : new TokenStreamError("the stream was closed while it was read", told);
  }
}

/** A stream ended with OK but without the generation's end. */
function cutShort(): TokenStreamError {
  return new TokenStreamError("the stream ended without the generation's end", { code: Code.UNAVAILABLE });
}

/** After a broken connection the server no longer has what follows. */
function generationLost(cause: TokenStreamError): TokenStreamError {
  const told = { code: cause.code, reason: "GENERATION_LOST", advice: "RETRY", ended: cause.ended } as const;
  return new TokenStreamError(`the connection broke and the rest is gone (${cause.details})`, told, { cause });
}
