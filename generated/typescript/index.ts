// The whole contract under one import. Beside src/, which `make generate` writes anew.

export * from "./src/google/rpc/status_pb.js";
export * from "./src/tokenstreaming/v1/admin_service_pb.js";
export * from "./src/tokenstreaming/v1/generation_pb.js";
export * from "./src/tokenstreaming/v1/input_pb.js";
export * from "./src/tokenstreaming/v1/model_pb.js";
export * from "./src/tokenstreaming/v1/token_stream_pb.js";
export * from "./src/tokenstreaming/v1/usage_pb.js";
export * from "./src/tokenstreaming/v1/usage_service_pb.js";
