// A channel in use: makes the calls, turns their errors into typed ones, and ends what is still open.

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
} from "@tokengrpc/tokenstreaming-v1";

import { fromCall } from "./errors.js";
import { type Method, serverStream, unary } from "./grpc.js";
import { messagesFirst } from "./messagesFirst.js";
import { defaultPolicy, type ResumePolicy } from "./policy.js";
import { serviceConfig } from "./serviceConfig.js";

export interface ClientOptions {
  /** Sent as a bearer token. */
  token?: string;
  /** Default: plaintext. */
  credentials?: ChannelCredentials;
  /** Win over the client's own, one by one. */
  channelOptions?: ChannelOptions;
  policy?: Partial<ResumePolicy>;
}

const defaultChannelOptions: ChannelOptions = {
  // A link that was cut without a word is noticed after 30 s while a call is open.
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // Calls fail at once while the channel waits to connect again: by default for a second and more, in which
  // the resume policy would use up its attempts.
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // Many tokens with many logprobs are more than gRPC's 4 MiB.
  "grpc.max_receive_message_length": 16 * 1024 * 1024,
  "grpc.service_config": serviceConfig,
  [messagesFirst]: 1,
};

// For calls that run no generation.
const controlTimeoutMs = 30_000;

export class Connection {
  readonly policy: ResumePolicy;
  readonly open = new Set<{ close(): Promise<void> }>();
  readonly #leaving = new Set<Promise<void>>();
  readonly #client: Client;
  readonly #metadata = new Metadata();

  constructor(target: string, options: ClientOptions) {
    this.policy = { ...defaultPolicy, ...options.policy };
    this.#client = new Client(target, options.credentials ?? credentials.createInsecure(), {
      ...defaultChannelOptions,
      ...options.channelOptions,
    });
    if (options.token !== undefined) this.#metadata.set("authorization", `Bearer ${options.token}`);
  }

  start(request: StreamTokensRequest, leftMs: number): ClientReadableStream<StreamTokensResponse> {
    return serverStream(this.#client, Service.method.streamTokens, request, this.#metadata, within(leftMs));
  }

  resume(generationId: string, afterSequence: number, leftMs: number): ClientReadableStream<StreamTokensResponse> {
    const request = create(ResumeTokensRequestSchema, { generationId, afterSequence });
    return serverStream(this.#client, Service.method.resumeTokens, request, this.#metadata, within(leftMs));
  }

  async get(generationId: string, leftMs = controlTimeoutMs): Promise<Generation> {
    const request = create(GetGenerationRequestSchema, { generationId });
    return (await this.#unary(Service.method.getGeneration, request, leftMs)).generation!;
  }

  async cancel(generationId: string, leftMs = controlTimeoutMs): Promise<Generation> {
    const request = create(CancelGenerationRequestSchema, { generationId });
    return (await this.#unary(Service.method.cancelGeneration, request, leftMs)).generation!;
  }

  /** Cancels a generation whose reader stopped. Never fails: it is gone, or ends after its `detach_ttl`. */
  leave(generationId: string): Promise<void> {
    const left = this.cancel(generationId, this.policy.cancelTimeoutMs)
      .then(() => undefined, () => undefined)
      .finally(() => this.#leaving.delete(left));
    this.#leaving.add(left);
    return left;
  }

  /** Ends what is open, as if its readers stopped, then the channel. */
  async close(): Promise<void> {
    await Promise.all([...this.open].map((stream) => stream.close()));
    await Promise.all(this.#leaving);
    this.#client.close();
  }

  #unary<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    request: MessageShape<I>,
    leftMs: number,
  ): Promise<MessageShape<O>> {
    return unary(this.#client, method, request, this.#metadata, within(leftMs)).catch((error: unknown) => {
      throw fromCall(error);
    });
  }
}

const within = (leftMs: number) => ({ deadline: Date.now() + leftMs });
