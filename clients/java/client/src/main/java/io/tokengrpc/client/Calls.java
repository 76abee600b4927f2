package io.tokengrpc.client;

import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;

/** The calls of one stream, one after the other. One thread reads; any thread may hang up. */
final class Calls {
  /** Limits the wait for the trailers after {@code finished}: they add no data, but show that the server is done. */
  private static final Duration TRAILERS_TIMEOUT = Duration.ofSeconds(1);

  private final TokenStreamClient client;
  private final Plan plan;
  private final Session session;
  private final BooleanSupplier register;
  private final CompletableFuture<Void> closed = new CompletableFuture<>();
  private BlockingClientCall<?, StreamTokensResponse> call;
  private boolean resuming;
  private Optional<Duration> wait = Optional.of(Duration.ZERO);

  /**
   * @param register tells the client of the stream before each call; false if the client has been closed
   */
  Calls(TokenStreamClient client, Plan plan, Session session, BooleanSupplier register) {
    this.client = client;
    this.plan = plan;
    this.session = session;
    this.register = register;
  }

  /** Returns the next new message, over as many calls as necessary; empty after a normal end or {@code detach()}. */
  Optional<StreamTokensResponse> read() throws InterruptedException {
    while (wait.isPresent() && !session.detached()) {
      if (session.finished()) {
        awaitTrailers();
        wait = session.callEnded(resuming, null);
        continue;
      }
      StreamTokensResponse message = null;
      Failure failure = null;
      try {
        if (call == null) {
          open(wait.get());
        }
        message = call.read();
      } catch (StatusException error) {
        failure = Failure.of(error);
      }
      if (message == null && closed.isDone()) {
        throw closedWhileRead();
      } else if (message == null) {
        call = null;
        wait = session.callEnded(resuming, failure);
      } else if (session.received(message)) {
        return Optional.of(message);
      }
    }
    return Optional.empty();
  }

  /** Cancels the call, if there is one, and prevents further ones. Returns false if that was done before. */
  synchronized boolean hangUp() {
    if (closed.complete(null)) {
      if (call != null) {
        call.cancel("the reader left", null);
      }
      return true;
    }
    return false;
  }

  private void open(Duration delay) throws InterruptedException, StatusException {
    pause(delay);
    if (!register.getAsBoolean()) {
      throw session.failed(LocalErrors.clientClosed());
    }
    session.calling();
    resuming = session.resuming();
    if (session.resumes() > 0) {
      client.connectAnew();
    }
    awaitConnection();
    // Under the lock, so that a concurrent hangUp() cannot miss the new call.
    synchronized (this) {
      if (closed.isDone()) {
        throw closedWhileRead();
      }
      call =
          resuming
              ? client.read(session.cursor(), session.timeLeft())
              : client.start(plan.request(), session.timeLeft());
    }
  }

  private void pause(Duration delay) throws InterruptedException {
    try {
      closed.get(delay.toNanos(), TimeUnit.NANOSECONDS);
      throw closedWhileRead();
    } catch (TimeoutException over) {
      // The normal case: nobody closed the stream meanwhile.
    } catch (ExecutionException impossible) {
      throw new AssertionError(impossible);
    }
  }

  /** Waits until the channel is connected, has failed to connect, or the stream is closed or its deadline has passed. */
  private void awaitConnection() throws InterruptedException, StatusException {
    Duration left = session.timeLeft();
    long nanos = left == null ? Long.MAX_VALUE : left.toNanos();
    try {
      var connected = CompletableFuture.anyOf(client.connecting(), closed).get(nanos, TimeUnit.NANOSECONDS);
      if (Boolean.FALSE.equals(connected)) {
        throw LocalErrors.notConnected().asException();
      }
    } catch (TimeoutException late) {
      // The call itself fails with DEADLINE_EXCEEDED.
    } catch (ExecutionException impossible) {
      throw new AssertionError(impossible);
    }
  }

  private void awaitTrailers() throws InterruptedException {
    try {
      call.read(TRAILERS_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS);
    } catch (StatusException | TimeoutException sameAsFinished) {
      // Ignored: `finished` already contains the outcome.
    }
  }

  private TokenStreamException closedWhileRead() {
    return session.stopped("the stream was closed while it was being read");
  }
}
