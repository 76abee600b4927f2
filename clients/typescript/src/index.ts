export { credentials } from "@grpc/grpc-js";

export { TokenStreamClient } from "./client.js";
export { Cursor, type CursorFields } from "./cursor.js";
export { Code, TokenStreamError, type Advice, type FailureDetail } from "./errors.js";
export type { ResumeOptions, Source, StreamOptions } from "./plan.js";
export { defaultPolicy, type ResumePolicy } from "./policy.js";
export { TokenStream } from "./stream.js";
export type { ClientOptions } from "./transport/connection.js";
export { methodDefinition, serverStream, unary, type Method } from "./transport/grpc.js";
