// What a stream does: its options, completed. No I/O.

import { randomUUID } from "node:crypto";

import { clone, create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  DeadlineAction,
  DisconnectAction,
  LimitsSchema,
  RecoverySchema,
  type StreamTokensRequest,
  StreamTokensRequestSchema,
} from "#stubs";

import { Cursor } from "./cursor.js";

/** A prompt, or a whole request. */
export type Source = string | MessageInitShape<typeof StreamTokensRequestSchema>;

export interface StreamOptions {
  /** The caller's own id; default: that of the request, or else a random one. */
  generationId?: string;
  /** True (default): DETACH, the generation survives a dropped connection. False: CANCEL, it does not. */
  resumable?: boolean;
  /** The time after which the server ends the generation, keeping its output so far. */
  timeoutMs?: number;
  /** How the stream ends after the timeout: with an error (default), or normally. */
  onDeadline?: "fail" | "partial";
  /** Aborting it stops the generation; the reader gets `signal.reason` as the error. */
  signal?: AbortSignal;
}

export interface ResumeOptions {
  /** Whether closing the stream early also stops the generation; default false. */
  cancelOnClose?: boolean;
  timeoutMs?: number;
  signal?: AbortSignal;
}

export interface Plan {
  /** The position after which reading begins. */
  cursor: Cursor;
  /** Undefined for a stream that only reads a generation which another call started. */
  request?: StreamTokensRequest;
  resumable: boolean;
  /** Whether closing the stream early requires CancelGeneration. */
  cancelOnClose: boolean;
  timeoutMs: number | undefined;
  signal: AbortSignal | undefined;
}

/** Completes a copy of the request from the options. Throws RangeError if the timeout is 0 or less. */
export function planStream(source: Source, options: StreamOptions): Plan {
  const { onDeadline = "fail", signal } = options;
  const timeoutMs = positive(options.timeoutMs);
  const init = typeof source === "string" ? { input: { case: "prompt" as const, value: source } } : source;
  const request = clone(StreamTokensRequestSchema, create(StreamTokensRequestSchema, init));
  request.generationId = options.generationId || request.generationId || randomUUID();
  const recovery = (request.recovery ??= create(RecoverySchema));
  recovery.disconnectAction ||= options.resumable === false ? DisconnectAction.CANCEL : DisconnectAction.DETACH;
  const resumable = options.resumable !== false && recovery.disconnectAction === DisconnectAction.DETACH;
  if (timeoutMs !== undefined) {
    // The server applies the deadline to the generation itself, even if the connection breaks.
    const limits = (request.limits ??= create(LimitsSchema));
    limits.deadlineAction ||= onDeadline === "fail" ? DeadlineAction.FAIL : DeadlineAction.FINISH_PARTIAL;
  }
  return { cursor: new Cursor(request.generationId), request, resumable, cancelOnClose: resumable, timeoutMs, signal };
}

/** Plans to read on after a cursor, or its text. Throws INVALID_CURSOR, or RangeError if the timeout is 0 or less. */
export function planResume(cursor: Cursor | string, { cancelOnClose = false, timeoutMs, signal }: ResumeOptions): Plan {
  const after = typeof cursor === "string" ? Cursor.parse(cursor) : cursor;
  return { cursor: after, resumable: true, cancelOnClose, timeoutMs: positive(timeoutMs), signal };
}

function positive(timeoutMs: number | undefined): number | undefined {
  if (timeoutMs === undefined || timeoutMs > 0) return timeoutMs;
  throw new RangeError(`timeoutMs: ${timeoutMs} ms is not positive; pass a positive number of milliseconds`);
}
