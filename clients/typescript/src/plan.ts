// How a stream shall live and end: what a caller asks, written into its request. No I/O.

import { randomUUID } from "node:crypto";

import { clone, create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  DeadlineAction,
  DisconnectAction,
  LimitsSchema,
  RecoverySchema,
  type StreamTokensRequest,
  StreamTokensRequestSchema,
} from "@tokengrpc/tokenstreaming-v1";

/** A prompt, or a whole request. */
export type Source = string | MessageInitShape<typeof StreamTokensRequestSchema>;

export interface StreamOptions {
  /** An id of the caller's; otherwise a random one. */
  generationId?: string;
  /** True (default): DETACH, survives a drop. False: CANCEL, the generation stops with the connection. */
  resumable?: boolean;
  /** After so long the generation ends on the server, with what there is. */
  timeoutMs?: number;
  /** What that end is: an error (default), or a normal end. */
  onDeadline?: "fail" | "partial";
  /** Aborting it stops the generation; the reader gets its reason. */
  signal?: AbortSignal;
}

export interface Plan {
  generationId: string;
  /** None for a stream that only reads what another call started. */
  request?: StreamTokensRequest;
  after: number;
  resumable: boolean;
  timeoutMs: number | undefined;
  signal: AbortSignal | undefined;
}

/** Completes a request, which is copied, so that its stream lives as asked. Throws RangeError for a timeout of 0 or less. */
export function planStream(source: Source, options: StreamOptions): Plan {
  const { timeoutMs, onDeadline = "fail", signal } = options;
  if (timeoutMs !== undefined && !(timeoutMs > 0)) {
    throw new RangeError(`timeoutMs: ${timeoutMs} is over already; give a positive number`);
  }
  const init = typeof source === "string" ? { input: { case: "prompt" as const, value: source } } : source;
  const request = clone(StreamTokensRequestSchema, create(StreamTokensRequestSchema, init));
  request.generationId = options.generationId || request.generationId || randomUUID();
  const recovery = (request.recovery ??= create(RecoverySchema));
  recovery.disconnectAction ||= options.resumable === false ? DisconnectAction.CANCEL : DisconnectAction.DETACH;
  const resumable = options.resumable !== false && recovery.disconnectAction === DisconnectAction.DETACH;
  if (timeoutMs !== undefined) {
    // The generation's own deadline, whatever becomes of the connection.
    const limits = (request.limits ??= create(LimitsSchema));
    limits.deadlineAction ||= onDeadline === "fail" ? DeadlineAction.FAIL : DeadlineAction.FINISH_PARTIAL;
  }
  return { generationId: request.generationId, request, after: 0, resumable, timeoutMs, signal };
}
