package io.tokengrpc.client;

import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import java.time.Duration;
import java.util.Optional;
import java.util.function.DoubleSupplier;
import java.util.function.LongSupplier;

/**
 * One stream's life over however many calls it takes: what follows each of them, and what its reader finally sees.
 *
 * <p>Does no I/O: a {@link TokenStream} tells it what happened. What the reader gets as an error is thrown.
 */
final class Session {
  private final Plan plan;
  private final ResumePolicy policy;
  private final LongSupplier nanoTime;
  private final DoubleSupplier random;
  private Answer answer;
  private Failure failure;
  private long deadline;
  private int calls;
  private int attempts;
  private int retries;

  Session(Plan plan, ResumePolicy policy, LongSupplier nanoTime, DoubleSupplier random) {
    this.plan = plan;
    this.policy = policy;
    this.nanoTime = nanoTime;
    this.random = random;
    answer = new Answer(plan.after());
  }

  Answer answer() {
    return answer;
  }

  /** How often it called again after its first call. */
  int resumes() {
    return Math.max(0, calls - 1);
  }

  synchronized boolean finished() {
    return answer.finish != null;
  }

  /** Whether the generation may go on though nobody will come back: CancelGeneration is due. */
  synchronized boolean abandoned() {
    if (plan.request() == null || !plan.resumable() || calls == 0 || finished()) {
      return false;
    }
    if (failure != null && failure.code() == Status.Code.DEADLINE_EXCEEDED) {
      return !failure.ended();
    }
    return failure == null || failure.reason().equals("STREAM_GAP");
  }

  /** Whether the next call is ResumeTokens, after the answer's sequence; otherwise StreamTokens with the plan's request. */
  synchronized boolean resuming() {
    return plan.request() == null || answer.sequence > 0;
  }

  /** Until the deadline, which counts from the first call: the timeout of the next one. Null without one. */
  synchronized Duration timeLeft() {
    return plan.timeout() == null ? null : Duration.ofNanos(Math.max(0, deadline - nanoTime.getAsLong()));
  }

  /** A call is made. */
  synchronized void calling() {
    if (calls++ == 0 && plan.timeout() != null) {
      deadline = nanoTime.getAsLong() + plan.timeout().toNanos();
    }
  }

  /** Takes a message; whether it is new. */
  synchronized boolean received(StreamTokensResponse message) {
    int before = answer.sequence;
    try {
      boolean isNew = answer.add(message);
      if (answer.sequence != before) {
        attempts = 0;
      }
      return isNew;
    } catch (TokenStreamException gap) {
      throw failed(gap.failure());
    }
  }

  /**
   * What follows a call that has ended.
   *
   * @param resumed whether it was ResumeTokens
   * @param ended null when it ended with OK
   * @return how long to wait before the next call; empty at a good end
   */
  synchronized Optional<Duration> callEnded(boolean resumed, Failure ended) {
    if (finished()) {
      if (answer.finish.getStatus().getCode() != Status.Code.OK.value()) {
        throw failed(Failure.of(answer.finish.getStatus()));
      }
      return Optional.empty();
    }
    return switch (ResumePolicy.nextStep(ended, resumed, begun(), plan.request() == null)) {
      case END -> Optional.empty();
      case RECONNECT -> Optional.of(reconnect(ended == null ? cutShort() : ended));
      case RETRY -> Optional.of(retry(ended, ended));
      case LOST -> Optional.of(lost(ended));
      case RAISE -> throw failed(ended);
    };
  }

  /** The error that the reader gets, completed by what this side knows. */
  synchronized TokenStreamException failed(Failure cause) {
    failure = cause.toldBy(plan.generationId(), answer.sequence, answer.usage);
    return told(failure);
  }

  /** The error of a reader whose stream was left. Not kept: the generation has not failed, and is still to be cancelled. */
  synchronized TokenStreamException left(String message) {
    RetryAdvice none = RetryAdvice.RETRY_ADVICE_UNSPECIFIED;
    Failure left = new Failure(Status.Code.CANCELLED, "CANCELLED", message, none, false);
    return told(left.toldBy(plan.generationId(), answer.sequence, answer.usage));
  }

  private TokenStreamException told(Failure failure) {
    return new TokenStreamException(failure, answer.text.toString());
  }

  private boolean begun() {
    return answer.sequence > plan.after();
  }

  private Duration reconnect(Failure broken) {
    Duration delay = delay(attempts, policy.attempts(), broken);
    if (!plan.resumable() || delay == null) {
      throw failed(connectionLost(broken));
    }
    attempts++;
    return delay;
  }

  private Duration retry(Failure turnedAway, Failure otherwise) {
    Duration delay = delay(retries, policy.retryAttempts(), turnedAway);
    if (plan.request() == null || delay == null) {
      throw failed(otherwise);
    }
    retries++;
    return delay;
  }

  /** Starts anew when no output had come: the server has forgotten the generation, as after a crash. */
  private Duration lost(Failure gone) {
    String message = "the connection broke and the rest is gone (" + gone.message() + ")";
    RetryAdvice advice = RetryAdvice.RETRY_ADVICE_RETRY;
    Failure lost = new Failure(gone.code(), "GENERATION_LOST", message, advice, gone.ended());
    if (!gone.reason().equals("GENERATION_NOT_FOUND") || answer.hasOutput) {
      throw failed(lost);
    }
    answer = new Answer(0);
    return retry(gone, lost);
  }

  /** How long to wait before another attempt, of which there are at most so many; null when there is none. */
  private Duration delay(int done, int most, Failure failure) {
    Duration delay = policy.backoff(done, random.getAsDouble()).plus(failure.retryDelay());
    Duration left = timeLeft();
    boolean late = left != null && delay.compareTo(left) >= 0;
    return done >= most || policy.tooLong(failure) || late ? null : delay;
  }

  /** The error of a connection that is given up: the server's own where it gave a reason, gRPC's where nothing ever came. */
  private Failure connectionLost(Failure broken) {
    boolean unreachable = !begun() && broken.code() == Status.Code.UNAVAILABLE;
    if (!broken.reason().isEmpty() || unreachable) {
      return broken;
    }
    String tried = attempts == 0 ? "" : " and " + attempts + " attempts to resume failed";
    RetryAdvice advice =
        begun() && plan.resumable() ? RetryAdvice.RETRY_ADVICE_RESUME : RetryAdvice.RETRY_ADVICE_RETRY;
    String message = "the connection broke" + tried + " (" + broken.message() + ")";
    return new Failure(broken.code(), "CONNECTION_LOST", message, advice, false);
  }

  private static Failure cutShort() {
    String message = "the stream ended without the generation's end";
    return new Failure(Status.Code.UNAVAILABLE, "", message, RetryAdvice.RETRY_ADVICE_UNSPECIFIED, false);
  }
}
