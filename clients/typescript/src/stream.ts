// One generation as an asynchronous iterable of tokens, over as many connections as necessary.

import { setTimeout as sleep } from "node:timers/promises";

import type { ClientReadableStream } from "@grpc/grpc-js";
import type { StreamTokensResponse, Token } from "#stubs";

import { Answer } from "./answer.js";
import type { Cursor } from "./cursor.js";
import { Delays } from "./delays.js";
import { Code, fromCall, fromStatus, TokenStreamError } from "./errors.js";
import {
  closedWhileReading,
  connectionLost,
  finishMissing,
  generationLost,
  notConnected,
  notResumable,
} from "./localErrors.js";
import type { Plan } from "./plan.js";
import { nextStep } from "./policy.js";
import { connectTimeoutMs } from "./transport/channel.js";
import type { Connection } from "./transport/connection.js";

// Limits the wait for a call's trailers after `finished`: they add no data, but show that the server has completed
// its accounting.
const trailersTimeoutMs = 1_000;
// What such a stream has received is not to be continued.
const corrupt = new Set(["STREAM_GAP", "CHECKSUM_MISMATCH"]);

/**
 * The tokens of one generation; can be read once, with `for await`. Leaving the loop early, closing the stream or
 * aborting the signal stops the generation on the server, except for streams of `TokenStreamClient.resume`. `detach`
 * leaves it to another reader.
 *
 * Reading throws TokenStreamError; the data received before it stays readable here.
 */
export class TokenStream extends Answer implements AsyncIterable<Token>, AsyncDisposable {
  error: TokenStreamError | undefined;
  #call: ClientReadableStream<StreamTokensResponse> | undefined;
  #status: Promise<unknown> | undefined;
  #closed: Promise<void> | undefined;
  #opened = false;
  #calls = 0;
  #detached = false;
  // `finished` came before the cursor.
  #ended = false;
  readonly #closing = new AbortController();
  readonly #connection: Connection;
  readonly #delays: Delays;
  readonly #plan: Plan;

  /** Created by TokenStreamClient; the call itself is made when reading begins. */
  constructor(connection: Connection, plan: Plan) {
    super(plan.cursor);
    this.#connection = connection;
    this.#delays = new Delays(connection.policy, Math.random);
    this.#plan = plan;
  }

  /** The number of calls after the first one. */
  get resumes(): number {
    return Math.max(0, this.#calls - 1);
  }

  /** All tokens, each once, in order. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Token, void, undefined> {
    for await (const message of this.messages()) yield* message.tokens;
  }

  /** All new messages as they arrive, including notices. */
  async *messages(): AsyncGenerator<StreamTokensResponse, void, undefined> {
    if (this.#opened || this.#closed) {
      throw new Error("a stream is read once: call client.stream() or client.resume() again");
    }
    this.#open();
    try {
      for (let delayMs: number | undefined = 0; delayMs !== undefined; ) {
        await this.#wait(delayMs);
        const resuming = this.#plan.request === undefined || this.sequence > 0;
        let failure: TokenStreamError | undefined;
        try {
          if (await this.#cannotConnect()) throw this.#delays.lastFailure ?? notConnected();
          for await (const message of this.#startCall(resuming)) {
            const before = this.sequence;
            const isNew = this.add(message);
            if (this.sequence > before || message.notice.case === "heartbeat") this.#delays.renewPatience();
            if (isNew) yield message;
            if (this.finish || this.#closed) break;
          }
        } catch (error) {
          if (!this.#closed) failure = error instanceof TokenStreamError ? error : fromCall(error);
        }
        if (this.#detached) return;
        if (this.#closed) throw this.#whyClosed();
        if (this.finish && !failure) await this.#trailers();
        delayMs = this.#next(failure, resuming);
      }
    } finally {
      await this.close();
    }
  }

  /** Ends the stream. Also cancels the generation if it may still run, except for streams of `resume`. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /**
   * Leaves the generation to another reader: ends the stream without stopping the generation, and returns the cursor
   * from which `resume` continues. A loop over tokens still gets those of its current message. Throws NOT_RESUMABLE if
   * ending the stream would stop the generation.
   */
  detach(): Cursor {
    if (!this.#plan.resumable) throw this.#withContext(notResumable());
    if (!this.#closed) {
      this.#detached = true;
      void this.close();
    }
    return this.cursor;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open(): void {
    const { signal, timeoutMs } = this.#plan;
    signal?.throwIfAborted();
    this.#connection.add(this);
    signal?.addEventListener("abort", () => void this.close(), { once: true, signal: this.#closing.signal });
    this.#delays.begin(timeoutMs, performance.now());
    this.#opened = true;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    this.#connection.remove(this);
    this.#call?.cancel();
    if (!this.#abandoned) return;
    const left = this.#connection.leave(this.generationId);
    // An error is thrown without waiting for the cancellation; the client's close() waits for it.
    if (this.error === undefined) await left;
  }

  /** Whether the generation may still run although its reader will not resume it: CancelGeneration is due. */
  get #abandoned(): boolean {
    if (this.#detached || !this.#plan.cancelOnClose || !this.#call || this.finish || this.#ended) return false;
    if (this.error === undefined || corrupt.has(this.error.reason)) return true;
    return this.error.code === Code.DEADLINE_EXCEEDED && !this.error.ended;
  }

  get #leftMs(): number {
    return this.#delays.leftMs(performance.now());
  }

  get #begun(): boolean {
    return this.sequence > this.#plan.cursor.sequence;
  }

  async #wait(delayMs: number): Promise<void> {
    if (delayMs > 0) await sleep(delayMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    if (this.#closed) throw this.#whyClosed();
  }

  /** Waits for a connection within the bounds of patience, so that a frozen server cannot keep a call forever. */
  async #cannotConnect(): Promise<boolean> {
    const limitMs = Math.min(connectTimeoutMs, this.#delays.patienceMs(performance.now()));
    // If the deadline is sooner, the call itself tells that it has passed.
    const deadlineFirst = this.#leftMs <= limitMs;
    const ready = await this.#connection.ready(Math.min(limitMs, this.#leftMs), this.#closing.signal);
    if (this.#closed) throw this.#whyClosed();
    return !ready && !deadlineFirst;
  }

  #startCall(resuming: boolean): ClientReadableStream<StreamTokensResponse> {
    this.#call?.cancel();
    this.#calls += 1;
    this.#call = resuming
      ? this.#connection.resume(this.cursor, this.#leftMs)
      : this.#connection.start(this.#plan.request!, this.#leftMs);
    // Subscribe before reading: the status may arrive while a slow reader still has messages to process.
    this.#status = new Promise((resolve) => this.#call!.once("status", resolve));
    // After the loop has left the iterator, no other listener handles an error, and Node would end the process.
    return this.#call.on("error", () => undefined);
  }

  /** Returns the delay before the next call, or undefined after a normal end. Throws if the stream fails. */
  #next(failure: TokenStreamError | undefined, resuming: boolean): number | undefined {
    if (this.finish) {
      const { status } = this.finish;
      if (status && status.code !== Code.OK) throw this.#failed(fromStatus(status));
      return undefined;
    }
    const readOnly = this.#plan.request === undefined;
    switch (nextStep(failure, { resuming, begun: this.#begun, readOnly })) {
      case "end":
        this.#ended = true;
        return undefined;
      case "reconnect":
        if (!this.#plan.resumable) throw this.#failed(this.#broken(failure ?? finishMissing()));
        return this.#reconnect(failure ?? finishMissing());
      case "wait":
        return this.#reconnect(failure!);
      case "retry":
        return this.#retry(failure!, failure!);
      case "lost":
        return this.#restart(failure!);
      case "raise":
        throw this.#failed(failure!);
    }
  }

  #reconnect(failure: TokenStreamError): number {
    const delayMs = this.#delays.beforeReconnection(failure, performance.now());
    if (delayMs === undefined) throw this.#failed(this.#broken(failure));
    return delayMs;
  }

  #retry(failure: TokenStreamError, otherwise: TokenStreamError): number {
    const delayMs = this.#plan.request && this.#delays.beforeRetry(failure, performance.now());
    if (typeof delayMs !== "number") throw this.#failed(otherwise);
    return delayMs;
  }

  /** Starts again if no output has arrived and the server no longer has the generation, as after a crash. */
  #restart(failure: TokenStreamError): number {
    const lost = generationLost(failure);
    if (failure.reason !== "GENERATION_NOT_FOUND" || this.hasOutput) throw this.#failed(lost);
    const delayMs = this.#retry(failure, lost);
    this.restart();
    return delayMs;
  }

  async #trailers(): Promise<void> {
    const enough = new AbortController();
    const waited = sleep(trailersTimeoutMs, undefined, { signal: enough.signal }).catch(() => undefined);
    await Promise.race([this.#status, waited]);
    enough.abort();
  }

  /** Returns the call's own error if it has a reason or no server was reachable, otherwise CONNECTION_LOST. */
  #broken(cause: TokenStreamError): TokenStreamError {
    if (cause.reason || (!this.#begun && cause.code === Code.UNAVAILABLE)) return cause;
    return connectionLost(cause, this.#begun && this.#plan.resumable);
  }

  #failed(error: TokenStreamError): TokenStreamError {
    this.error = this.#withContext(error);
    return this.error;
  }

  /** Adds the stream's id, text, usage and cursor. The cursor replaces the server's, which may be ahead of it. */
  #withContext(error: TokenStreamError): TokenStreamError {
    const { cause, details } = error;
    const context = { lastSequence: this.sequence, cursor: this.cursor, partialText: this.text };
    const generationId = error.generationId || this.generationId;
    const told = { ...error, ...context, generationId, usage: error.usage ?? this.usage };
    return new TokenStreamError(details, told, { cause });
  }

  #whyClosed(): unknown {
    const signal = this.#plan.signal;
    return signal?.aborted ? signal.reason : closedWhileReading();
  }
}
