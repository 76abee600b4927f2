// What to do about a server to which no connection could be opened, by the words of Node and grpc-js.

import { errorTexts } from "./errorTexts.js";

const words: [RegExp, keyof typeof errorTexts][] = [
  [/certificate|ERR_TLS_CERT|altnames/i, "certificate refused"],
  [/wrong version number/, "server without TLS"],
  // With TLS 1.3, a server that misses the client's certificate just closes the connection, as it does for a client
  // without TLS.
  [/Failed to connect \(|ECONNRESET/, "closed at once"],
];

/** Returns what to do. `details` is the message of grpc-js. */
export function unreachable(details: string): string {
  return errorTexts[words.find(([pattern]) => pattern.test(details))?.[1] ?? "server unreachable"];
}
