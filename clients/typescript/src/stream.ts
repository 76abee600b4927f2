// One generation as an asynchronous iterable of tokens, for as many connections as that takes.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import type { ClientReadableStream } from "@grpc/grpc-js";
import type { StreamTokensResponse, Token } from "@tokengrpc/tokenstreaming-v1";

import { Assembler } from "./assembler.js";
import type { Connection } from "./connection.js";
import { closedWhileRead, connectionLost, cutShort, generationLost, timeLimitError, tooLate } from "./endings.js";
import { Code, fromCall, fromStatus, type TokenStreamError } from "./errors.js";
import type { Plan } from "./plan.js";
import { nextStep, type Standing, waitMs } from "./policy.js";
import { Progress } from "./progress.js";

// For a call's trailers once its generation has finished: they say nothing new, but the server has closed its
// books when they come.
const trailersTimeoutMs = 1_000;

/**
 * The tokens of one generation; read once, with `for await`. Leaving the loop early, closing, or aborting the
 * signal stops the generation on the server, unless the stream only reads what another call started.
 *
 * Throws TokenStreamError while it is read; what had arrived stays readable here.
 */
export class TokenStream extends Progress implements AsyncIterable<Token>, AsyncDisposable {
  /** Changes when the call is repeated under a new id before anything came. */
  generationId: string;
  /** How often the same generation was called again. */
  resumes = 0;
  error: TokenStreamError | undefined;
  #call: ClientReadableStream<StreamTokensResponse> | undefined;
  #calledId: string | undefined;
  #status: Promise<unknown> | undefined;
  #closed: Promise<void> | undefined;
  #deadline = Infinity;
  // Calls in a row that brought nothing new, and further starts.
  #attempts = 0;
  #retries = 0;
  // A call broke, and what became of it is not known: the generation may run. Its id is kept from then on,
  // because repeating StreamTokens attaches to it.
  #unsure = false;
  #opened = false;
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
        const cursor = this.sequence;
        const resuming = this.#plan.request === undefined || cursor > 0;
        let failure: TokenStreamError | undefined;
        try {
          for await (const message of this.#startCall(resuming)) {
            if (this.#received(message)) yield message;
            if (this.finish || this.#closed) break;
          }
        } catch (error) {
          if (!this.#closed) failure = fromCall(error);
        }
        if (this.#closed) throw this.#whyClosed();
        if (this.finish && !failure) await this.#trailers();
        const standing = { resuming, begun: this.sequence > this.#plan.after, brought: this.sequence > cursor };
        delayMs = this.finish ? this.#outcome() : await this.#next(failure, standing);
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

  async #wait(delayMs: number): Promise<void> {
    if (delayMs > 0) await sleep(delayMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    if (this.#closed) throw this.#whyClosed();
  }

  #startCall(resuming: boolean): ClientReadableStream<StreamTokensResponse> {
    this.#call?.cancel();
    if (this.#calledId === this.generationId) this.resumes += 1;
    this.#calledId = this.generationId;
    this.#call = resuming
      ? this.#connection.resume(this.generationId, this.sequence, this.#leftMs)
      : this.#connection.start(this.#plan.request!, this.#leftMs);
    // Listened for from the start: it comes while a reader who is behind still has messages to take.
    this.#status = new Promise((resolve) => this.#call!.once("status", resolve));
    // Once its iterator is left, nobody else would take its error, and Node would end the process.
    return this.#call.on("error", () => undefined);
  }

  /** Whether a message holds anything new for the reader, who then gets what is left of it. */
  #received(message: StreamTokensResponse): boolean {
    const before = this.sequence;
    try {
      return this.assembler.add(message);
    } catch (gap) {
      throw this.#completed(gap as TokenStreamError);
    } finally {
      if (this.sequence > before) this.#attempts = 0;
    }
  }

  /** What follows a call that ended without `finished`: how long to wait before the next, or undefined at the end. */
  async #next(failure: TokenStreamError | undefined, standing: Standing): Promise<number | undefined> {
    switch (nextStep(failure, standing)) {
      case "reconnect":
        return this.#reconnect(failure);
      case "ask":
        return this.#ask(standing);
      case "retry":
        return this.#retry(failure!);
      case "lost":
        return this.#restart(failure!);
      case "raise":
        throw this.#completed(failure!);
    }
  }

  #reconnect(failure = cutShort()): number {
    const { attempts, maxRetryDelayMs } = this.#connection.policy;
    const patient = this.#attempts < attempts && failure.retryDelayMs <= maxRetryDelayMs;
    if (!this.#plan.resumable || !patient) throw this.#completed(this.#broken(failure));
    const delayMs = waitMs(this.#connection.policy, this.#attempts, failure, Math.random());
    if (delayMs >= this.#leftMs) throw this.#completed(tooLate(failure));
    this.#attempts += 1;
    this.#unsure = true;
    return delayMs;
  }

  #retry(failure: TokenStreamError): number {
    const { retryAttempts, maxRetryDelayMs } = this.#connection.policy;
    const patient = this.#retries < retryAttempts && failure.retryDelayMs <= maxRetryDelayMs;
    const delayMs = waitMs(this.#connection.policy, this.#retries, failure, Math.random());
    const { request, ownId } = this.#plan;
    if (!request || !patient || delayMs >= this.#leftMs) throw this.#completed(failure);
    this.#retries += 1;
    if (ownId && !this.#unsure) this.generationId = request.generationId = randomUUID();
    return delayMs;
  }

  /** Starts anew when no output had come: the server has forgotten the generation, as after a crash. */
  #restart(failure: TokenStreamError): number {
    const forgotten = failure.reason === "GENERATION_NOT_FOUND" && !this.assembler.hasOutput;
    if (forgotten && this.#plan.request && this.#retries < this.#connection.policy.retryAttempts) {
      this.assembler = new Assembler();
      return this.#retry(failure);
    }
    throw this.#completed(generationLost(failure));
  }

  /** Asks how the generation ended, when the cursor may be its end. */
  async #ask(standing: Standing): Promise<number | undefined> {
    try {
      const leftMs = Number.isFinite(this.#leftMs) ? this.#leftMs : undefined;
      const generation = await this.#connection.get(this.generationId, leftMs);
      if (generation.finished && generation.lastSequence <= this.sequence) {
        this.assembler.usage = generation.usage;
        this.assembler.finish = generation.finished;
      }
    } catch (error) {
      if (this.#closed) throw this.#whyClosed();
      return this.#next(error as TokenStreamError, standing);
    }
    return this.finish ? this.#outcome() : this.#reconnect();
  }

  /** The end that `finished` tells: nothing more to do, or an error. */
  #outcome(): undefined {
    const finish = this.finish!;
    if (finish.status && finish.status.code !== Code.OK) throw this.#completed(fromStatus(finish.status));
    const late = timeLimitError(this.#plan, finish);
    if (late) throw this.#completed(late);
  }

  async #trailers(): Promise<void> {
    const enough = new AbortController();
    const waited = sleep(trailersTimeoutMs, undefined, { signal: enough.signal }).catch(() => undefined);
    await Promise.race([this.#status, waited]);
    enough.abort();
  }

  /** The error of a connection that is given up: the server's own where it gave a reason. */
  #broken(failure: TokenStreamError): TokenStreamError {
    const begun = this.sequence > this.#plan.after;
    if (failure.reason || (!begun && failure.code === Code.UNAVAILABLE)) return failure;
    return connectionLost(failure, this.#attempts, begun && this.#plan.resumable);
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
    return signal?.aborted ? signal.reason : closedWhileRead();
  }
}
