// A channel and its open streams: makes the calls, converts errors of unary calls, and closes the streams.

import { create, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientReadableStream,
  credentials,
  Metadata,
} from "@grpc/grpc-js";
import {
  CancelGenerationRequestSchema,
  type Generation,
  GetGenerationRequestSchema,
  ResumeTokensRequestSchema,
  type StreamTokensRequest,
  type StreamTokensResponse,
  TokenStream as Service,
} from "#stubs";

import type { Cursor } from "../cursor.js";
import { fromCall } from "../errors.js";
import { clientClosed } from "../localErrors.js";
import { defaultPolicy, type ResumePolicy } from "../policy.js";
import { connected, defaultChannelOptions } from "./channel.js";
import { type Method, serverStream, unary } from "./grpc.js";

export interface ClientOptions {
  /** Bearer token, sent with every call; or a function that returns the one of the moment, for tokens that expire. */
  token?: string | (() => string);
  /** Default: plaintext. */
  credentials?: ChannelCredentials;
  /** Override the client's defaults, option by option. */
  channelOptions?: ChannelOptions;
  policy?: Partial<ResumePolicy>;
}

interface Closable {
  close(): Promise<void>;
}

// Timeout of calls that do not start a generation.
const controlTimeoutMs = 30_000;

export class Connection {
  readonly policy: ResumePolicy;
  readonly #open = new Set<Closable>();
  readonly #leaving = new Set<Promise<void>>();
  readonly #client: Client;
  readonly #token: ClientOptions["token"];
  #closed = false;

  constructor(target: string, options: ClientOptions) {
    this.policy = { ...defaultPolicy, ...options.policy };
    this.#client = new Client(target, options.credentials ?? credentials.createInsecure(), {
      ...defaultChannelOptions,
      ...options.channelOptions,
    });
    this.#token = options.token;
  }

  /** Returns the metadata of the next call. */
  #metadata(): Metadata {
    const metadata = new Metadata();
    const token = typeof this.#token === "function" ? this.#token() : this.#token;
    if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
    return metadata;
  }

  /** Adds a stream that `close` will close. Throws CLIENT_CLOSED. */
  add(stream: Closable): void {
    this.#checkOpen();
    this.#open.add(stream);
  }

  remove(stream: Closable): void {
    this.#open.delete(stream);
  }

  /** Waits until the channel is connected, or knows why it is not; returns false if that takes too long. */
  ready(leftMs: number, signal: AbortSignal): Promise<boolean> {
    return connected(this.#client.getChannel(), leftMs, signal);
  }

  start(request: StreamTokensRequest, leftMs: number): ClientReadableStream<StreamTokensResponse> {
    return serverStream(this.#client, Service.method.streamTokens, request, this.#metadata(), within(leftMs));
  }

  resume(cursor: Cursor, leftMs: number): ClientReadableStream<StreamTokensResponse> {
    const { generationId, sequence, logIncarnation, checksum } = cursor;
    const request = create(ResumeTokensRequestSchema, { generationId, afterSequence: sequence, logIncarnation });
    if (checksum !== undefined) request.outputChecksum = checksum;
    return serverStream(this.#client, Service.method.resumeTokens, request, this.#metadata(), within(leftMs));
  }

  async get(generationId: string): Promise<Generation> {
    this.#checkOpen();
    const request = create(GetGenerationRequestSchema, { generationId });
    return (await this.#unary(Service.method.getGeneration, request, controlTimeoutMs)).generation!;
  }

  async cancel(generationId: string): Promise<Generation> {
    this.#checkOpen();
    return this.#cancel(generationId, controlTimeoutMs);
  }

  /** Cancels a generation after its stream was closed. Ignores failures: it ends after its `detach_ttl` anyway. */
  leave(generationId: string): Promise<void> {
    const left = this.#cancel(generationId, this.policy.cancelTimeoutMs)
      .then(() => undefined, () => undefined)
      .finally(() => this.#leaving.delete(left));
    this.#leaving.add(left);
    return left;
  }

  /** Closes all open streams, as their readers would, then the channel. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#open].map((stream) => stream.close()));
    await Promise.all(this.#leaving);
    this.#client.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw clientClosed();
  }

  async #cancel(generationId: string, leftMs: number): Promise<Generation> {
    const request = create(CancelGenerationRequestSchema, { generationId });
    return (await this.#unary(Service.method.cancelGeneration, request, leftMs)).generation!;
  }

  #unary<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageShape<I>,
    leftMs: number,
  ): Promise<MessageShape<O>> {
    return unary(this.#client, method, request, this.#metadata(), within(leftMs)).catch((error: unknown) => {
      throw fromCall(error);
    });
  }
}

const within = (leftMs: number) => ({ deadline: Date.now() + leftMs });
