package io.tokengrpc.client;

import io.grpc.Status;
import io.tokengrpc.client.ResumePolicy.Step;
import io.tokengrpc.tokenstreaming.v1.FinishReason;
import io.tokengrpc.tokenstreaming.v1.Finished;
import io.tokengrpc.tokenstreaming.v1.Generation;
import io.tokengrpc.tokenstreaming.v1.GetGenerationRequest;
import io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import java.time.Duration;
import java.util.function.DoubleSupplier;
import java.util.function.LongSupplier;

/**
 * One stream's life over however many calls it takes: which call comes next, when, and what its reader finally sees.
 *
 * <p>Does no I/O: a {@link TokenStream} tells it what happened and does the action that it answers. What the reader gets as an
 * error is thrown.
 */
final class Session {
  /** What the stream does next. */
  sealed interface Action {}

  /** Call StreamTokens after a delay. */
  record Start(StreamTokensRequest request, Duration delay) implements Action {}

  /** Call ResumeTokens after a delay. */
  record Resume(ResumeTokensRequest request, Duration delay) implements Action {}

  /** Call GetGeneration: the stream ended with OK without saying how the generation did. */
  record Ask(GetGenerationRequest request) implements Action {}

  /** The generation ended well. */
  record Done() implements Action {}

  private final Plan plan;
  private final ResumePolicy policy;
  private final LongSupplier nanoTime;
  private final DoubleSupplier random;
  private Assembler assembler;
  private StreamTokensRequest request;
  private String generationId;
  private Failure failure;
  private long deadline;
  private int attempts;
  private int retries;
  private int resumes;
  private int cursorAtCall;
  private boolean called;
  private boolean resuming;

  /**
   * A call broke, and what became of it is not known: the generation may run. Its id is kept from then on, because repeating
   * StreamTokens attaches to it.
   */
  private boolean unsure;

  Session(Plan plan, ResumePolicy policy, LongSupplier nanoTime, DoubleSupplier random) {
    this.plan = plan;
    this.policy = policy;
    this.nanoTime = nanoTime;
    this.random = random;
    assembler = new Assembler(plan.after());
    request = plan.request();
    generationId = plan.generationId();
  }

  Assembler assembler() {
    return assembler;
  }

  String generationId() {
    return generationId;
  }

  /** How often it called again after a drop. */
  int resumes() {
    return resumes;
  }

  synchronized boolean finished() {
    return assembler.finish != null;
  }

  /** Whether the generation may go on though nobody will come back: CancelGeneration is due. */
  synchronized boolean abandoned() {
    if (request == null || !plan.resumable() || !called || finished()) {
      return false;
    }
    if (failure != null && failure.code() == Status.Code.DEADLINE_EXCEEDED) {
      return !failure.ended();
    }
    return failure == null || failure.reason().equals("STREAM_GAP");
  }

  /** Until the deadline: the timeout of the next call. Null without one. */
  Duration timeLeft() {
    return plan.timeout() == null ? null : Duration.ofNanos(Math.max(0, deadline - nanoTime.getAsLong()));
  }

  /** The first call, from which the timeout runs. */
  synchronized Action begin() {
    if (plan.timeout() != null) {
      deadline = nanoTime.getAsLong() + plan.timeout().toNanos();
    }
    return call(Duration.ZERO);
  }

  /** Takes a message; answers what is new of it, or null. */
  synchronized StreamTokensResponse received(StreamTokensResponse message) {
    int before = assembler.sequence;
    try {
      StreamTokensResponse news = assembler.add(message);
      if (assembler.sequence != before) {
        attempts = 0;
      }
      return news;
    } catch (TokenStreamException gap) {
      throw failed(gap.failure());
    }
  }

  /** What follows a call that has ended, with OK when {@code ended} is null. */
  synchronized Action callEnded(Failure ended) {
    if (finished()) {
      return outcome();
    }
    Step step = ResumePolicy.nextStep(ended, resuming, begun(), assembler.sequence > cursorAtCall);
    return switch (step) {
      case RECONNECT -> reconnect(ended == null ? cutShort() : ended);
      case ASK -> new Ask(GetGenerationRequest.newBuilder().setGenerationId(generationId).build());
      case RETRY -> retry(ended);
      case LOST -> lost(ended);
      case RAISE -> throw failed(ended);
    };
  }

  /** What follows the answer to {@link Ask}. */
  synchronized Action outcomeTold(Generation generation) {
    if (generation.hasFinished() && generation.getLastSequence() <= assembler.sequence) {
      assembler.usage = generation.getUsage();
      assembler.end(generation.getFinished());
      return outcome();
    }
    return reconnect(cutShort());
  }

  /** The error that the reader gets, completed by what this side knows. */
  synchronized TokenStreamException failed(Failure cause) {
    failure = cause.toldBy(generationId, assembler.sequence, assembler.usage);
    return new TokenStreamException(failure, assembler.text.toString());
  }

  /** The error of a reader whose stream was left. Not kept: the generation has not failed, and is still to be cancelled. */
  synchronized TokenStreamException left(String message) {
    Failure left = failure(Status.Code.CANCELLED, "CANCELLED", message);
    return new TokenStreamException(
        left.toldBy(generationId, assembler.sequence, assembler.usage), assembler.text.toString());
  }

  private boolean begun() {
    return assembler.sequence > plan.after();
  }

  private Action call(Duration delay) {
    called = true;
    cursorAtCall = assembler.sequence;
    resuming = request == null || assembler.sequence > 0;
    if (!resuming) {
      return new Start(request, delay);
    }
    var rest = ResumeTokensRequest.newBuilder().setGenerationId(generationId).setAfterSequence(assembler.sequence);
    return new Resume(rest.build(), delay);
  }

  private Action reconnect(Failure broken) {
    if (!plan.resumable() || attempts >= policy.attempts() || policy.tooLong(broken)) {
      throw failed(connectionLost(broken));
    }
    Duration delay = policy.backoff(attempts, random.getAsDouble()).plus(broken.retryDelay());
    if (tooLate(delay)) {
      String message = "the deadline came while reconnecting (" + broken.message() + ")";
      throw failed(failure(Status.Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message));
    }
    attempts++;
    resumes++;
    unsure = true;
    return call(delay);
  }

  private Action retry(Failure turnedAway) {
    Duration delay = policy.backoff(retries, random.getAsDouble()).plus(turnedAway.retryDelay());
    boolean late = policy.tooLong(turnedAway) || tooLate(delay);
    if (request == null || retries >= policy.retryAttempts() || late) {
      throw failed(turnedAway);
    }
    retries++;
    if (plan.ownId() && !unsure) {
      generationId = Plan.newId();
      request = request.toBuilder().setGenerationId(generationId).build();
    }
    return call(delay);
  }

  /** Starts anew when no output had come: the server has forgotten the generation, as after a crash. */
  private Action lost(Failure gone) {
    boolean forgotten = gone.reason().equals("GENERATION_NOT_FOUND") && !assembler.hasOutput;
    if (forgotten && request != null && retries < policy.retryAttempts()) {
      assembler = new Assembler(0);
      return retry(gone);
    }
    String message = "the connection broke and the rest is gone (" + gone.message() + ")";
    throw failed(
        new Failure(gone.code(), "GENERATION_LOST", message, RetryAdvice.RETRY_ADVICE_RETRY, gone.ended()));
  }

  private Action outcome() {
    Finished finish = assembler.finish;
    if (finish.getStatus().getCode() != Status.Code.OK.value()) {
      throw failed(Failure.of(finish.getStatus()));
    }
    if (plan.failsAtTimeLimit() && finish.getFinishReason() == FinishReason.FINISH_REASON_TIME_LIMIT) {
      String message = "the timeout of " + plan.timeout().toMillis() / 1e3 + " s came before the end";
      throw failed(
          new Failure(
              Status.Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message, RetryAdvice.RETRY_ADVICE_RETRY, true));
    }
    return new Done();
  }

  private boolean tooLate(Duration delay) {
    Duration left = timeLeft();
    return left != null && delay.compareTo(left) >= 0;
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
    return failure(Status.Code.UNAVAILABLE, "", "the stream ended without the generation's end");
  }

  private static Failure failure(Status.Code code, String reason, String message) {
    return new Failure(code, reason, message, RetryAdvice.RETRY_ADVICE_UNSPECIFIED, false);
  }
}
