package io.tokengrpc.client;

import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * The attempts of a channel to connect, each for a bounded time.
 *
 * <p>gRPC has no such bound: a call waits forever if the server accepts the connection and then does not answer.
 */
final class Connecting {
  private final ManagedChannel channel;
  private final Duration timeout;
  private CompletableFuture<Boolean> attempt = CompletableFuture.completedFuture(true);

  Connecting(ManagedChannel channel, Duration timeout) {
    this.channel = channel;
    this.timeout = timeout;
  }

  /**
   * Returns the current attempt, which all calls share. It completes with true when the channel is connected or knows why it
   * cannot connect, which its next call reports; with false, and a disconnected channel, after the timeout.
   */
  synchronized CompletableFuture<Boolean> attempt() {
    if (attempt.isDone()) {
      attempt = new CompletableFuture<>();
      follow(attempt);
      if (!attempt.isDone()) {
        attempt.thenAccept(known -> disconnectUnless(known));
        attempt.completeOnTimeout(false, timeout.toNanos(), TimeUnit.NANOSECONDS);
      }
    }
    return attempt;
  }

  private void follow(CompletableFuture<Boolean> current) {
    if (current.isDone()) {
      return;
    }
    ConnectivityState state = channel.getState(true);
    if (state == ConnectivityState.IDLE || state == ConnectivityState.CONNECTING) {
      channel.notifyWhenStateChanged(state, () -> follow(current));
    } else {
      current.complete(true);
    }
  }

  private void disconnectUnless(boolean known) {
    if (!known) {
      channel.enterIdle();
    }
  }
}
