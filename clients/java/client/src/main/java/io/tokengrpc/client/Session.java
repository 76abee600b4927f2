package io.tokengrpc.client;

import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import java.time.Duration;
import java.util.Optional;
import java.util.Set;
import java.util.function.DoubleSupplier;
import java.util.function.LongSupplier;

/**
 * The state of one stream over all its calls: decides the step after each call and the outcome for the reader.
 *
 * <p>Does no I/O: {@link TokenStream} reports each message and the end of each call. Errors for the reader are thrown.
 */
final class Session {
  /** The reasons of streams that nobody can go on reading. */
  private static final Set<String> SPOILED = Set.of("STREAM_GAP", "CHECKSUM_MISMATCH");

  private final Plan plan;
  private final ResumePolicy policy;
  private final LongSupplier nanoTime;
  private final DoubleSupplier random;
  private Answer answer;
  private Failure failure;
  private long deadline;
  private int calls;

  /** Reconnections since the last new event or heartbeat; then the end of the first and the failure of the last call. */
  private int reconnects;
  private boolean triedElsewhere;

  private long failingSince;
  private Failure lastBroken;
  private int retries;
  private boolean detached;

  Session(Plan plan, ResumePolicy policy, LongSupplier nanoTime, DoubleSupplier random) {
    this.plan = plan;
    this.policy = policy;
    this.nanoTime = nanoTime;
    this.random = random;
    answer = new Answer(plan.start());
  }

  Answer answer() {
    return answer;
  }

  /** Returns the number of calls after the first one. */
  int resumes() {
    return Math.max(0, calls - 1);
  }

  synchronized boolean finished() {
    return answer.finish != null;
  }

  /** Returns the position after the last message that {@link #received} returned as new. */
  synchronized Cursor cursor() {
    return answer.cursor(plan.generationId());
  }

  /** Leaves the generation to another reader: later messages do not count, and it is not abandoned. */
  synchronized Cursor detach() {
    if (!plan.resumable()) {
      // Not recorded: the stream goes on.
      throw told(LocalErrors.notResumable());
    }
    detached = true;
    return cursor();
  }

  synchronized boolean detached() {
    return detached;
  }

  /** Returns whether the generation may still run although its reader will not resume it: CancelGeneration is due. */
  synchronized boolean abandoned() {
    if (!plan.cancelOnClose() || detached || calls == 0 || finished()) {
      return false;
    }
    if (failure != null && failure.code() == Status.Code.DEADLINE_EXCEEDED) {
      return !failure.ended();
    }
    return failure == null || SPOILED.contains(failure.reason());
  }

  /** Returns whether the next call is ResumeTokens, after the answer's sequence; otherwise it is StreamTokens. */
  synchronized boolean resuming() {
    return plan.readOnly() || answer.sequence > 0;
  }

  /** Returns the time left until the deadline, which counts from the first call; null without a deadline. */
  synchronized Duration timeLeft() {
    return plan.timeout() == null ? null : Duration.ofNanos(Math.max(0, deadline - nanoTime.getAsLong()));
  }

  /** Counts a call; the first one starts the deadline. */
  synchronized void calling() {
    if (calls++ == 0 && plan.timeout() != null) {
      deadline = nanoTime.getAsLong() + plan.timeout().toNanos();
    }
  }

  /** Processes a message and returns whether it is new; none is once the reader has detached. */
  synchronized boolean received(StreamTokensResponse message) {
    if (detached) {
      return false;
    }
    int before = answer.sequence;
    try {
      boolean isNew = answer.add(message);
      if (answer.sequence != before || message.hasHeartbeat()) {
        reconnects = 0;
        triedElsewhere = false;
      }
      return isNew;
    } catch (TokenStreamException spoiled) {
      throw failed(spoiled.failure());
    }
  }

  /**
   * Decides the next step after a call has ended.
   *
   * @param resumed whether the call was ResumeTokens
   * @param ended the call's failure; null if the call ended with OK
   * @return the delay before the next call; empty after a normal end
   */
  synchronized Optional<Duration> callEnded(boolean resumed, Failure ended) {
    if (finished()) {
      if (answer.finish.getStatus().getCode() != Status.Code.OK.value()) {
        throw failed(Failure.of(answer.finish.getStatus()));
      }
      return Optional.empty();
    }
    return switch (ResumePolicy.nextStep(ended, resumed, begun(), plan.readOnly())) {
      case END -> Optional.empty();
      case RECONNECT -> {
        Failure broken = ended == null ? LocalErrors.endedWithoutFinished() : ended;
        yield Optional.of(reconnect(broken, plan.resumable()));
      }
      case CALL_AGAIN -> Optional.of(reconnect(ended, true));
      case RETRY -> Optional.of(retry(ended, ended));
      case LOST -> Optional.of(lost(ended));
      case RAISE -> throw failed(ended);
    };
  }

  /** Records a failure and returns the reader's error, completed with the id, cursor and usage of the stream. */
  synchronized TokenStreamException failed(Failure cause) {
    TokenStreamException error = told(cause);
    failure = error.failure();
    return error;
  }

  /** Returns the error for a closed stream. Not recorded: the generation has not failed and must still be cancelled. */
  synchronized TokenStreamException stopped(String message) {
    return told(LocalErrors.stopped(message));
  }

  private TokenStreamException told(Failure cause) {
    Failure told = cause.toldBy(plan.generationId(), answer.sequence, answer.usage);
    return new TokenStreamException(told, answer.text.toString(), cursor());
  }

  private boolean begun() {
    return answer.sequence > plan.start().sequence();
  }

  private Duration reconnect(Failure ended, boolean allowed) {
    if (reconnects == 0 && !triedElsewhere) {
      failingSince = nanoTime.getAsLong();
    }
    Failure broken = (reconnects > 0 || triedElsewhere) && LocalErrors.stillFrozen(lastBroken, ended) ? lastBroken : ended;
    lastBroken = broken;
    boolean elsewhere = !triedElsewhere && ResumePolicy.TRY_ELSEWHERE.contains(broken.reason());
    Duration delay =
        elsewhere ? Duration.ZERO : policy.backoff(reconnects, random.getAsDouble()).plus(broken.retryDelay());
    if (!allowed || policy.tooLong(broken) || isLate(delay, patienceLeft()) || isLate(delay, timeLeft())) {
      throw failed(connectionLost(broken));
    }
    if (elsewhere) {
      triedElsewhere = true;
    } else {
      reconnects++;
    }
    return delay;
  }

  /** Returns how long reconnecting may still go on; null for until the deadline. */
  private Duration patienceLeft() {
    Duration patience = policy.patience();
    if (patience == null && plan.timeout() == null) {
      patience = ResumePolicy.PATIENCE_WITHOUT_DEADLINE;
    }
    return patience == null ? null : patience.minusNanos(nanoTime.getAsLong() - failingSince);
  }

  private Duration retry(Failure refused, Failure otherwise) {
    Duration delay = policy.backoff(retries, random.getAsDouble()).plus(refused.retryDelay());
    boolean used = plan.readOnly() || retries >= policy.retryAttempts();
    if (used || policy.tooLong(refused) || isLate(delay, timeLeft())) {
      throw failed(otherwise);
    }
    retries++;
    return delay;
  }

  /** Starts again if no output has arrived and the server no longer has the generation, as after a crash. */
  private Duration lost(Failure gone) {
    Failure lost = LocalErrors.generationLost(gone);
    if (!gone.reason().equals("GENERATION_NOT_FOUND") || answer.hasOutput) {
      throw failed(lost);
    }
    Duration delay = retry(gone, lost);
    answer = new Answer(plan.start());
    return delay;
  }

  private static boolean isLate(Duration delay, Duration left) {
    return left != null && delay.compareTo(left) >= 0;
  }

  /** Returns the call's own error if it has a reason or no server was reachable, otherwise CONNECTION_LOST. */
  private Failure connectionLost(Failure broken) {
    boolean unreachable = !begun() && broken.code() == Status.Code.UNAVAILABLE;
    if (!broken.reason().isEmpty() || unreachable) {
      return broken;
    }
    return LocalErrors.connectionLost(broken, begun() && plan.resumable());
  }
}
