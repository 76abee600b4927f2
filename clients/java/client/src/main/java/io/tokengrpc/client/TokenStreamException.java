package io.tokengrpc.client;

import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;

/** A call or a generation failed; the message is one line: the reason, what happened, what to do. */
public final class TokenStreamException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final Failure failure;
  private final String partialText;

  TokenStreamException(Failure failure, String partialText) {
    super(line(failure));
    this.failure = failure;
    this.partialText = partialText;
  }

  /** Everything that is known of the failure. */
  public Failure failure() {
    return failure;
  }

  /** The contract's word for what happened, such as {@code ENGINE_LOST}; empty when gRPC itself failed the call. */
  public String reason() {
    return failure.reason();
  }

  /** The gRPC status. */
  public Status.Code code() {
    return failure.code();
  }

  /** The answer until then. */
  public String partialText() {
    return partialText;
  }

  private static String line(Failure failure) {
    String told = failure.reason().isEmpty() ? failure.code().name() : failure.reason();
    if (!failure.message().isEmpty()) {
      told += ": " + failure.message();
    }
    if (failure.advice() == RetryAdvice.RETRY_ADVICE_RESUME) {
      return told + " (resume generation " + failure.generationId() + " after sequence " + failure.lastSequence() + ")";
    }
    if (failure.advice() == RetryAdvice.RETRY_ADVICE_RETRY) {
      return told + " (try again under a new id)";
    }
    boolean unreachable = failure.reason().isEmpty() && failure.code() == Status.Code.UNAVAILABLE;
    return unreachable ? told + " (check that the server runs at this address)" : told;
  }
}
