// The errors that the client itself detects; no server sent them.

import { Code, TokenStreamError } from "./errors.js";
import { errorTexts } from "./errorTexts.js";

/** The call ended with OK, but without `finished`. */
export function finishMissing(): TokenStreamError {
  return new TokenStreamError(errorTexts["stream ended without finished"], { code: Code.UNAVAILABLE });
}

/** The library knew neither of a connection nor of a failure within its time. */
export function notConnected(): TokenStreamError {
  return new TokenStreamError("no connection could be established within 5 s", { code: Code.UNAVAILABLE });
}

/** The connection broke; `resumable` says whether a later resume may succeed. */
export function connectionLost(cause: TokenStreamError, resumable: boolean): TokenStreamError {
  const text = errorTexts[resumable ? "CONNECTION_LOST" : "CONNECTION_LOST, not resumable"];
  const told = { code: cause.code, reason: "CONNECTION_LOST", advice: resumable ? "RESUME" : "RETRY" } as const;
  return new TokenStreamError(because(text, withoutAdvice(cause)), told, { cause });
}

/** After a broken connection, the server no longer has the remaining events. */
export function generationLost(cause: TokenStreamError): TokenStreamError {
  const told = { code: cause.code, reason: "GENERATION_LOST", advice: "RETRY", ended: cause.ended } as const;
  return new TokenStreamError(because(errorTexts.GENERATION_LOST, withoutAdvice(cause)), told, { cause });
}

export function streamGap(cause: string): TokenStreamError {
  return new TokenStreamError(because(errorTexts.STREAM_GAP, cause), { code: Code.DATA_LOSS, reason: "STREAM_GAP" });
}

export function checksumMismatch(cause: string): TokenStreamError {
  const told = { code: Code.DATA_LOSS, reason: "CHECKSUM_MISMATCH" };
  return new TokenStreamError(because(errorTexts.CHECKSUM_MISMATCH, cause), told);
}

export function invalidCursor(text: string): TokenStreamError {
  const told = { code: Code.INVALID_ARGUMENT, reason: "INVALID_CURSOR" };
  return new TokenStreamError(because(errorTexts.INVALID_CURSOR, JSON.stringify(text)), told);
}

export function notResumable(): TokenStreamError {
  const told = { code: Code.FAILED_PRECONDITION, reason: "NOT_RESUMABLE" };
  return new TokenStreamError(errorTexts.NOT_RESUMABLE, told);
}

export function clientClosed(): TokenStreamError {
  return new TokenStreamError(errorTexts.CLIENT_CLOSED, { code: Code.FAILED_PRECONDITION, reason: "CLIENT_CLOSED" });
}

/** Another task closed the stream while it was being read. */
export function closedWhileReading(): TokenStreamError {
  const told = { code: Code.CANCELLED, reason: "CANCELLED" };
  return new TokenStreamError("the stream was closed while it was being read", told);
}

// A function, so that no `$` in the cause has a meaning.
const because = (text: string, cause: string) => text.replace("{cause}", () => cause);

/** A server's message, which has a reason, ends with advice; the new error has advice of its own. */
function withoutAdvice({ details, reason }: TokenStreamError): string {
  const advice = reason ? details.lastIndexOf("; ") : -1;
  return advice === -1 ? details : details.slice(0, advice);
}
