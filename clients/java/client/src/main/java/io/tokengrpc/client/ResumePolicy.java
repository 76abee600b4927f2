package io.tokengrpc.client;

import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Set;

/**
 * What follows a failure, and how long a client is patient. Pure: no I/O, no clock, no randomness.
 *
 * @param attempts calls in a row that bring nothing new, after which a broken connection is given up
 * @param retryAttempts further starts of a generation that was turned away before it began
 * @param initialBackoff the longest first wait; each wait is drawn between zero and its longest (full jitter)
 * @param backoffFactor by which the longest wait grows
 * @param maxBackoff up to which it grows; what the server asks for (RetryInfo) is added
 * @param maxRetryDelay the longest wait of the server's that is obeyed; where it asks for more, nothing is repeated
 * @param cancelTimeout for the CancelGeneration of a reader who stops
 */
public record ResumePolicy(
    int attempts,
    int retryAttempts,
    Duration initialBackoff,
    double backoffFactor,
    Duration maxBackoff,
    Duration maxRetryDelay,
    Duration cancelTimeout) {

  public static final ResumePolicy DEFAULT =
      new ResumePolicy(
          6, 2, Duration.ofMillis(50), 2, Duration.ofSeconds(2), Duration.ofSeconds(30), Duration.ofSeconds(5));

  /** What gRPC makes of a connection that broke: reset, refused, closed in the middle, a proxy's own reset. */
  private static final Set<Status.Code> BROKEN =
      EnumSet.of(Status.Code.UNAVAILABLE, Status.Code.CANCELLED, Status.Code.INTERNAL, Status.Code.UNKNOWN);

  private static final Set<String> TURNED_AWAY =
      Set.of("OVERLOADED", "DRAINING", "QUOTA_EXCEEDED", "STORE_UNAVAILABLE");
  private static final Set<String> NOT_KEPT =
      Set.of("GENERATION_NOT_FOUND", "REPLAY_EXPIRED", "SEQUENCE_OUT_OF_RANGE");

  /** What follows the end of a call. */
  enum Step {
    /** The same generation again, after the cursor. */
    RECONNECT,
    /** It had ended well where reading began. */
    END,
    /** Another start: this one never began. */
    RETRY,
    /** The rest is no longer kept. */
    LOST,
    /** Give up. What was generated is billed, so nothing is repeated unasked. */
    RAISE
  }

  /** The wait before an attempt, counted from 0; {@code random} is from 0 to 1. */
  Duration backoff(int attempt, double random) {
    double longest = Math.min(maxBackoff.toNanos(), initialBackoff.toNanos() * Math.pow(backoffFactor, attempt));
    return Duration.ofNanos((long) (random * longest));
  }

  /** Whether the server asks for a longer wait than anybody is patient for. */
  boolean tooLong(Failure failure) {
    return failure.retryDelay().compareTo(maxRetryDelay) > 0;
  }

  /**
   * What to do after a call that ended without {@code finished}.
   *
   * @param failure null when the call ended with OK
   * @param resuming whether it was ResumeTokens
   * @param begun whether some event has arrived, in this call or before
   * @param readOnly whether the stream only reads what another call started
   */
  static Step nextStep(Failure failure, boolean resuming, boolean begun, boolean readOnly) {
    if (failure == null) {
      // OK where nothing was left to read: the cursor was that of `finished`.
      return readOnly && !begun ? Step.END : Step.RECONNECT;
    }
    if (failure.advice() == RetryAdvice.RETRY_ADVICE_RESUME) {
      return Step.RECONNECT;
    }
    if (failure.advice() == RetryAdvice.RETRY_ADVICE_UNSPECIFIED) {
      // Without known advice, the code alone decides.
      return BROKEN.contains(failure.code()) ? Step.RECONNECT : Step.RAISE;
    }
    if (resuming && begun && NOT_KEPT.contains(failure.reason())) {
      return Step.LOST;
    }
    boolean turnedAway = TURNED_AWAY.contains(failure.reason());
    if (resuming && turnedAway && !failure.ended()) {
      return Step.RECONNECT;
    }
    boolean neverBegan = !resuming && !begun && !failure.ended();
    boolean mayRetry = neverBegan && failure.advice() != RetryAdvice.RETRY_ADVICE_NEVER;
    return mayRetry && (turnedAway || failure.reason().equals("ENGINE_UNAVAILABLE")) ? Step.RETRY : Step.RAISE;
  }
}
