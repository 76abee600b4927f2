// The channel's defaults, and how long it may take to connect.

import { type ChannelInterface, type ChannelOptions, connectivityState as State } from "@grpc/grpc-js";

import { noticesFrozenServers } from "./frozenServer.js";
import { messagesFirst } from "./messagesFirst.js";
import { serviceConfig } from "./serviceConfig.js";

export const defaultChannelOptions: ChannelOptions = {
  // While a call is open, a frozen server or a silently broken connection is noticed after 15 s.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  // While the channel waits to reconnect, calls fail immediately. The default wait of a second or more would cost
  // a stream most of its attempts to resume.
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 500,
  // Many tokens with many logprobs can exceed gRPC's default limit of 4 MiB.
  "grpc.max_receive_message_length": 16 * 1024 * 1024,
  "grpc.service_config": serviceConfig,
  [messagesFirst]: 1,
  [noticesFrozenServers]: 1,
};

/** Limits the wait for a connection. */
export const connectTimeoutMs = 5_000;

/**
 * Waits until a channel is connected, or knows why it is not: the next call then tells. Returns false if neither is so
 * after `limitMs`, or when the signal aborts. grpc-js itself sets no limit: its calls wait for as long as a server is
 * frozen.
 */
export async function connected(channel: ChannelInterface, limitMs: number, signal: AbortSignal): Promise<boolean> {
  const until = Date.now() + limitMs;
  const settled = new AbortController();
  const aborted = new Promise<Error>((resolve) =>
    signal.addEventListener("abort", () => resolve(new Error("aborted")), { signal: settled.signal }),
  );
  try {
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state !== State.IDLE && state !== State.CONNECTING) return true;
      const changed = new Promise<Error | undefined>((resolve) => channel.watchConnectivityState(state, until, resolve));
      if (await Promise.race([changed, aborted])) return false;
    }
  } finally {
    settled.abort();
  }
}
