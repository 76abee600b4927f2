// Tells a server that has stopped answering from a connection that broke.
//
// When a keepalive ping is not answered, grpc-js ends the calls with "Connection dropped", as it does if the connection
// was closed (`handleDisconnect` in its transport.js). But only then is the HTTP/2 session still open when the calls
// learn of it. This patches internals of grpc-js, so package.json pins its exact version; frozenServer.test.ts fails if
// the patch stops working. Channels without the option below are not affected.

import { Metadata, status as Code, type StatusObject } from "@grpc/grpc-js";
import { Http2SubchannelCall } from "@grpc/grpc-js/build/src/subchannel-call.js";

import { errorTexts } from "../errorTexts.js";

export const noticesFrozenServers = "tokengrpc.notices_frozen_servers";

interface Internals {
  transport: { getOptions(): Record<string, unknown>; session: { destroyed: boolean } };
  endCall(status: StatusObject): void;
  onDisconnect(): void;
}

const internals = Http2SubchannelCall.prototype as unknown as Internals;
const { onDisconnect } = internals;

internals.onDisconnect = function () {
  if (this.transport.getOptions()[noticesFrozenServers] && !this.transport.session.destroyed) {
    const details = errorTexts["server frozen"];
    // Before the status of grpc-js, which a second status does not replace.
    setImmediate(() => this.endCall({ code: Code.UNAVAILABLE, details, metadata: new Metadata() }));
  }
  onDisconnect.call(this);
};
