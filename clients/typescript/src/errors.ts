// What a caller catches: one class, with everything that the server told about the failure.

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
} from "@tokengrpc/tokenstreaming-v1";

export { Code };

export type Advice = "RESUME" | "RETRY" | "NEVER";

export interface FailureDetail {
  /** The gRPC status. */
  code: Code;
  /** The contract's word for it; empty when the gRPC library or a proxy failed the call. */
  reason: string;
  /** What the server, or for a broken connection this client, says to do; undefined when nothing was said. */
  advice: Advice | undefined;
  /** Whether the generation itself has ended, not only the call. */
  ended: boolean;
  generationId: string;
  /** The last event that had arrived; of a call that was no stream, the generation's last. */
  lastSequence: number;
  /** What the generation had used. */
  usage: Usage | undefined;
  /** What to wait before another try. */
  retryDelayMs: number;
  /** The request's fields that are wrong, and why. */
  violations: { field: string; description: string }[];
  /** The answer until the failure. */
  partialText: string;
}

type Told = Partial<FailureDetail> & Pick<FailureDetail, "code">;

export interface TokenStreamError extends FailureDetail {}

/** A call failed; see FailureDetail. */
export class TokenStreamError extends Error {
  override readonly name = "TokenStreamError";

  /** `details` says what happened. */
  constructor(readonly details: string, told: Told, options?: ErrorOptions) {
    // One line, also where grpc-js tells several.
    super(`${told.reason || Code[told.code]}: ${details.trim().replace(/\s+/g, " ")}`, options);
    Object.assign(this, {
      reason: "", advice: undefined, ended: false, generationId: "", lastSequence: 0, usage: undefined,
      retryDelayMs: 0, violations: [], partialText: "", ...told,
    } satisfies FailureDetail);
  }
}

/** The error of a failed call. What is no failed call is thrown on. */
export function fromCall(error: unknown): TokenStreamError {
  if (!(error instanceof Error && "code" in error && "metadata" in error)) throw error;
  const { code, details, metadata } = error as ServiceError;
  const [trailer] = metadata.get("grpc-status-details-bin");
  const status = readable(() => fromBinary(StatusSchema, trailer as Buffer));
  return decode(code, details, status?.details ?? [], error);
}

/** The error of a status that is not OK, such as `Finished.status`. */
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
    // The others are Google's (google/rpc/error_details.proto), of which four fields are needed.
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
  // Unknown advice of a newer server counts as missing: the code alone then decides what follows.
  const advice = retryAdvice ? (RetryAdvice[retryAdvice] as Advice | undefined) : undefined;
  Object.assign(told, { generationId, lastSequence, usage, ended, advice });
}

/** All values of a length-delimited field. */
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

/** A proxy may have changed the trailers: what cannot be read is as if it were not there. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
