// Delivers all messages of a call before its final status, even if that status is an error.
//
// When a call fails, grpc-js reports the status at once and drops earlier messages that were not read yet
// (`maybeOutputStatus` in its subchannel-call.js; this is intended, see grpc-node pull request 1277). If one of
// our streams ends with an error, its text and `finished` with the usage precede the trailers, so a slow reader
// would lose them. This file therefore passes error trailers to grpc-js as OK, because grpc-js then waits until
// the messages are read, and restores the original code before the status is output.
//
// This patches internals of grpc-js, so package.json pins its exact version; messagesFirst.test.ts fails if the
// patch stops working. Channels without the option below are not affected.

import { status as Code, type StatusObject } from "@grpc/grpc-js";
import { Http2SubchannelCall } from "@grpc/grpc-js/build/src/subchannel-call.js";

export const messagesFirst = "tokengrpc.messages_first";

interface Internals {
  transport: { getOptions(): Record<string, unknown> };
  finalStatus: StatusObject | null;
  handleTrailers(headers: unknown): void;
  endCall(status: StatusObject): void;
  outputStatus(): void;
}

const internals = Http2SubchannelCall.prototype as unknown as Internals;
const { endCall, handleTrailers, outputStatus } = internals;
const inTrailers = new WeakSet<Internals>();
const held = new WeakMap<StatusObject, StatusObject>();

internals.handleTrailers = function (headers) {
  if (this.transport.getOptions()[messagesFirst]) inTrailers.add(this);
  handleTrailers.call(this, headers);
  inTrailers.delete(this);
};

internals.endCall = function (status) {
  let told = status;
  if (inTrailers.has(this) && status.code !== Code.OK) {
    told = { ...status, code: Code.OK };
    held.set(told, status);
  }
  endCall.call(this, told);
};

internals.outputStatus = function () {
  this.finalStatus = (this.finalStatus && held.get(this.finalStatus)) ?? this.finalStatus;
  outputStatus.call(this);
};
