package io.tokengrpc.client;

import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Set;

/**
 * Decides the next step after a failure, and limits reconnecting, retries and delays. Pure: no I/O, no clock, no randomness.
 *
 * @param patience how long reconnecting goes on without a new event or heartbeat; null for until the caller's deadline, and
 *     {@link #PATIENCE_WITHOUT_DEADLINE} without one
 * @param retryAttempts further starts of a generation that no engine could be asked for, or that the server lost before any
 *     output
 * @param initialBackoff the upper bound of the first delay; each delay is random between zero and its bound (full jitter)
 * @param backoffFactor the factor by which the bound grows with each attempt
 * @param maxBackoff the maximum of the bound; the server's own delay (RetryInfo) is added to the random delay. Only the
 *     first call after {@code OVERLOADED} or {@code DRAINING} is made at once, because it goes to another replica if there
 *     is one
 * @param maxRetryDelay the longest delay accepted from the server; if it asks for more, the client makes no further attempt
 * @param cancelTimeout the timeout of CancelGeneration after a reader has closed its stream
 * @param connectTimeout the time for a connection to be established; after it, a call counts as failed
 */
public record ResumePolicy(
    Duration patience,
    int retryAttempts,
    Duration initialBackoff,
    double backoffFactor,
    Duration maxBackoff,
    Duration maxRetryDelay,
    Duration cancelTimeout,
    Duration connectTimeout) {

  /** The patience of a stream that has no deadline. */
  public static final Duration PATIENCE_WITHOUT_DEADLINE = Duration.ofSeconds(60);

  /** The bounds of docs/client-policy.md. */
  public static final ResumePolicy DEFAULT =
      new ResumePolicy(
          null,
          2,
          Duration.ofMillis(50),
          2,
          Duration.ofSeconds(1),
          Duration.ofSeconds(30),
          Duration.ofSeconds(5),
          Duration.ofSeconds(5));

  /** The codes that gRPC reports for a broken connection: reset, refused, closed midway, or reset by a proxy. */
  private static final Set<Status.Code> BROKEN =
      EnumSet.of(Status.Code.UNAVAILABLE, Status.Code.CANCELLED, Status.Code.INTERNAL, Status.Code.UNKNOWN);

  private static final Set<String> REJECTED =
      Set.of("OVERLOADED", "DRAINING", "QUOTA_EXCEEDED", "STORE_UNAVAILABLE");

  /** Reasons that concern one server: another replica may serve the call at once. */
  static final Set<String> TRY_ELSEWHERE = Set.of("OVERLOADED", "DRAINING");

  private static final Set<String> FORGOTTEN =
      Set.of("GENERATION_NOT_FOUND", "REPLAY_EXPIRED", "SEQUENCE_OUT_OF_RANGE");

  /** The next step after the end of a call. */
  enum Step {
    /** Call again for the same generation, after the cursor, if the stream is resumable. */
    RECONNECT,
    /** Call again, on any stream: the server rejected the call, so nothing was lost and no engine was asked. */
    CALL_AGAIN,
    /** End normally: the cursor was already that of {@code finished}. */
    END,
    /** Start the generation again: no engine could be asked. */
    RETRY,
    /** The server no longer has the remaining events. */
    LOST,
    /** Fail. Generated output is billed, so only the caller may repeat it. */
    RAISE
  }

  /** Returns this policy with another patience; null for the default. */
  public ResumePolicy withPatience(Duration patience) {
    return new ResumePolicy(
        patience,
        retryAttempts,
        initialBackoff,
        backoffFactor,
        maxBackoff,
        maxRetryDelay,
        cancelTimeout,
        connectTimeout);
  }

  /** Returns the delay before an attempt, counted from 0; {@code random} is from 0 to 1. */
  Duration backoff(int attempt, double random) {
    double longest = Math.min(maxBackoff.toNanos(), initialBackoff.toNanos() * Math.pow(backoffFactor, attempt));
    return Duration.ofNanos((long) (random * longest));
  }

  /** Returns whether the server asks for a delay above {@code maxRetryDelay}. */
  boolean tooLong(Failure failure) {
    return failure.retryDelay().compareTo(maxRetryDelay) > 0;
  }

  /**
   * Returns the next step after a call that ended without {@code finished}.
   *
   * @param failure null if the call ended with OK
   * @param resuming whether the call was ResumeTokens
   * @param begun whether an event has arrived, in this call or an earlier one
   * @param readOnly whether the stream only reads a generation that another call started
   */
  static Step nextStep(Failure failure, boolean resuming, boolean begun, boolean readOnly) {
    if (failure == null) {
      // OK on a read-only stream without any event: the cursor was that of `finished`.
      return readOnly && !begun ? Step.END : Step.RECONNECT;
    }
    if (failure.advice() == RetryAdvice.RETRY_ADVICE_RESUME) {
      return Step.RECONNECT;
    }
    if (failure.advice() == RetryAdvice.RETRY_ADVICE_UNSPECIFIED) {
      // Without known advice, the code alone decides.
      return BROKEN.contains(failure.code()) ? Step.RECONNECT : Step.RAISE;
    }
    if (resuming && begun && FORGOTTEN.contains(failure.reason())) {
      return Step.LOST;
    }
    boolean mayStart = !resuming && !begun && failure.advice() != RetryAdvice.RETRY_ADVICE_NEVER;
    if (failure.ended() || !resuming && !mayStart) {
      return Step.RAISE;
    }
    if (REJECTED.contains(failure.reason())) {
      return Step.CALL_AGAIN;
    }
    return mayStart && failure.reason().equals("ENGINE_UNAVAILABLE") ? Step.RETRY : Step.RAISE;
  }
}
