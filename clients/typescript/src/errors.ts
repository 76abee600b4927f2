// The one error class that callers catch, with all details that the server sent about the failure.

import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { type Any, anyUnpack, durationMs, DurationSchema } from "@bufbuild/protobuf/wkt";
import { type ServiceError, status as Code } from "@grpc/grpc-js";
import {
  type GenerationFailure,
  GenerationFailureSchema,
  RetryAdvice,
  type Status,
  StatusSchema,
  type Usage,
} from "#stubs";

import type { Cursor } from "./cursor.js";
import { unreachable } from "./handshakes.js";

export { Code };

export type Advice = "RESUME" | "RETRY" | "NEVER";

export interface FailureDetail {
  /** The gRPC status. */
  code: Code;
  /** The contract's reason; empty if the gRPC library or a proxy failed the call. */
  reason: string;
  /** Advice from the server or, for a broken connection, from this client; undefined if there is none. */
  advice: Advice | undefined;
  /** Whether the generation itself has ended, not only the call. */
  ended: boolean;
  generationId: string;
  /** The sequence of the last event received; for a unary call, of the generation's last event. */
  lastSequence: number;
  /** Where the stream can be resumed; undefined for calls that read no stream. */
  cursor: Cursor | undefined;
  /** The generation's usage until the failure, if known. */
  usage: Usage | undefined;
  /** The server's minimum delay before another attempt, in milliseconds; 0 if it sets none. */
  retryDelayMs: number;
  /** The invalid fields of the request, and why they are invalid. */
  violations: { field: string; description: string }[];
  /** The text received before the failure. */
  partialText: string;
}

type Told = Partial<FailureDetail> & Pick<FailureDetail, "code">;

export interface TokenStreamError extends FailureDetail {}

/** The failure of a call or a generation; its fields are those of FailureDetail. */
export class TokenStreamError extends Error {
  override readonly name = "TokenStreamError";

  /** `details` says what happened, and what to do. */
  constructor(readonly details: string, told: Told, options?: ErrorOptions) {
    super(line(details, told), options);
    Object.assign(this, {
      reason: "", advice: undefined, ended: false, generationId: "", lastSequence: 0, cursor: undefined,
      usage: undefined, retryDelayMs: 0, violations: [], partialText: "", ...told,
    } satisfies FailureDetail);
  }
}

/** Returns the reason, what happened and what to do, on one line, even if grpc-js reports several. */
function line(details: string, { advice, code, cursor, reason }: Told): string {
  const told = `${reason || Code[code]}: ${details.trim().replace(/\s+/g, " ")}`;
  if (advice === "RESUME" && cursor) return `${told} (cursor ${cursor})`;
  return !reason && code === Code.UNAVAILABLE ? `${told}; ${unreachable(details)}` : told;
}

/** Converts the error of a failed call. Rethrows any other error. */
export function fromCall(error: unknown): TokenStreamError {
  if (!(error instanceof Error && "code" in error && "metadata" in error)) throw error;
  const { code, details, metadata } = error as ServiceError;
  const [trailer] = metadata.get("grpc-status-details-bin");
  const status = readable(() => fromBinary(StatusSchema, trailer as Buffer));
  // grpc-js adds this label even without a note.
  return decode(code, details.replace(/\.? Resolution note: $/, ""), status?.details ?? [], error);
}

/** Converts a status that is not OK, such as `Finished.status`. */
export function fromStatus(status: Status): TokenStreamError {
  return decode(status.code, status.message, status.details);
}

function decode(code: Code, message: string, details: Any[], cause?: Error): TokenStreamError {
  const told: Told = { code };
  for (const detail of details) readable(() => read(detail, told));
  return new TokenStreamError(message, told, { cause });
}

function read(detail: Any, told: Told): void {
  switch (detail.typeUrl.slice(detail.typeUrl.lastIndexOf("/") + 1)) {
    case "tokenstreaming.v1.GenerationFailure":
      return readFailure(anyUnpack(detail, GenerationFailureSchema), told);
    // The other details are Google's (google/rpc/error_details.proto); only four of their fields are needed.
    case "google.rpc.ErrorInfo":
      told.reason = text(field(detail.value, 1)[0]);
      return;
    case "google.rpc.RetryInfo":
      told.retryDelayMs = durationMs(fromBinary(DurationSchema, field(detail.value, 1)[0] ?? new Uint8Array()));
      return;
    case "google.rpc.BadRequest":
      told.violations = field(detail.value, 1).map((violation) => ({
        field: text(field(violation, 1)[0]),
        description: text(field(violation, 2)[0]),
      }));
  }
}

function readFailure(failure: GenerationFailure | undefined, told: Told): void {
  if (failure === undefined) return;
  const { generationId, lastSequence, usage, ended, retryAdvice } = failure;
  // Unknown advice from a newer server counts as missing: the code alone then decides the next step.
  const advice = retryAdvice ? (RetryAdvice[retryAdvice] as Advice | undefined) : undefined;
  Object.assign(told, { generationId, lastSequence, usage, ended, advice });
}

/** Returns all values of a length-delimited field. */
function field(message: Uint8Array, wanted: number): Uint8Array[] {
  const reader = new BinaryReader(message);
  const found: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (number === wanted && type === WireType.LengthDelimited) found.push(reader.bytes());
    else reader.skip(type, number);
  }
  return found;
}

const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);

/** Returns undefined if reading fails: a proxy may have changed the trailers, and damaged data counts as missing. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
