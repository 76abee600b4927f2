package io.tokengrpc.client;

import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import java.util.Optional;

/** The failure of a call or a generation. The message is one line: the reason, what happened, what to do. */
public final class TokenStreamException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  private final Failure failure;
  private final String partialText;
  private final transient Cursor cursor;

  /** Creates the error of a call that reads no stream. */
  TokenStreamException(Failure failure) {
    this(failure, "", null);
  }

  TokenStreamException(Failure failure, String partialText, Cursor cursor) {
    super(line(failure, cursor));
    this.failure = failure;
    this.partialText = partialText;
    this.cursor = cursor;
  }

  /** Returns all details of the failure. */
  public Failure failure() {
    return failure;
  }

  /** Returns the contract's reason, such as {@code ENGINE_LOST}; empty if gRPC itself or a proxy failed the call. */
  public String reason() {
    return failure.reason();
  }

  /** Returns the gRPC status code. */
  public Status.Code code() {
    return failure.code();
  }

  /** Returns the text received before the failure. */
  public String partialText() {
    return partialText;
  }

  /** Returns where the stream can be resumed; empty for other calls, and after serialization. */
  public Optional<Cursor> cursor() {
    return Optional.ofNullable(cursor);
  }

  private static String line(Failure failure, Cursor cursor) {
    String told = failure.reason().isEmpty() ? failure.code().name() : failure.reason();
    if (!failure.message().isEmpty()) {
      told += ": " + failure.message();
    }
    if (failure.advice() == RetryAdvice.RETRY_ADVICE_RESUME && cursor != null) {
      return told + " (cursor " + cursor + ")";
    }
    // A server's message and those of LocalErrors have their own advice.
    boolean unreachable = failure.reason().isEmpty() && failure.code() == Status.Code.UNAVAILABLE;
    return unreachable ? told + "; " + LocalErrors.unreachable(failure.message()) : told;
  }
}
