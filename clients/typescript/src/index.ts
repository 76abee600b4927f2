export { TokenStreamClient, type ResumeOptions } from "./client.js";
export type { ClientOptions } from "./connection.js";
export { Code, TokenStreamError, type Advice, type FailureDetail } from "./errors.js";
export { methodDefinition, serverStream, unary, type Method } from "./grpc.js";
export type { Source, StreamOptions } from "./plan.js";
export { defaultPolicy, type ResumePolicy } from "./policy.js";
export { TokenStream } from "./stream.js";
