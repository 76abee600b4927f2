// Messages come before the status that ends their call, also when that status is an error.
//
// grpc-js hands the status of a failed call on at once and drops the messages that came before it and were not
// read yet (`maybeOutputStatus` of its subchannel-call.js; its authors chose so, grpc-node pull request 1277).
// A stream of ours that ends with an error has all its text, and `finished` with the bill, before the trailers:
// a reader who is a little behind would lose them. So the trailers of our calls take the way of OK ones, which
// waits for the messages, and get their own code back at its end.
//
// This reaches into grpc-js, for whose exact version package.json asks; messagesFirst.test.ts tells when it
// no longer works. Channels without the option below are left alone.

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
