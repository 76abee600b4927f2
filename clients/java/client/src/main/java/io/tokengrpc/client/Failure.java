package io.tokengrpc.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.BadRequest.FieldViolation;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import io.tokengrpc.tokenstreaming.v1.GenerationFailure;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import io.tokengrpc.tokenstreaming.v1.Usage;
import java.io.Serializable;
import java.time.Duration;
import java.util.List;

/**
 * What is known of a failed call or generation.
 *
 * @param code the gRPC status
 * @param reason the contract's word for it, such as {@code ENGINE_LOST}; empty when gRPC itself or a proxy failed the call
 * @param advice what to do, {@code RETRY_ADVICE_UNSPECIFIED} when nobody said
 * @param ended whether the generation itself has ended
 * @param lastSequence the last event that had arrived: the cursor for resuming
 * @param usage what had been used; the default instance when not told
 * @param retryDelay what the server asks to wait before another try; zero when it does not
 * @param violations the request's fields that are wrong
 */
public record Failure(
    Status.Code code,
    String reason,
    String message,
    RetryAdvice advice,
    boolean ended,
    String generationId,
    int lastSequence,
    Usage usage,
    Duration retryDelay,
    List<FieldViolation> violations)
    implements Serializable {

  /** A failure that this side finds: it knows neither the generation's usage nor a delay. */
  Failure(Status.Code code, String reason, String message, RetryAdvice advice, boolean ended) {
    this(code, reason, message, advice, ended, "", 0, Usage.getDefaultInstance(), Duration.ZERO, List.of());
  }

  /** Of a failed call, with the details of its trailers as far as they can be read. */
  static Failure of(StatusException error) {
    List<Any> details = List.of();
    try {
      com.google.rpc.Status told = StatusProto.fromThrowable(error);
      details = told == null ? details : told.getDetailsList();
    } catch (IllegalArgumentException damaged) {
      // A proxy changed the status or the trailers: what gRPC says itself still holds.
    }
    Status status = error.getStatus();
    String message = status.getDescription() == null ? "" : status.getDescription();
    // Of a connection gRPC says no more than "io exception"; its cause says what and where.
    String cause = status.getCause() == null ? "" : ": " + status.getCause().getMessage();
    return decode(status.getCode(), message + cause, details);
  }

  /** Of a generation's own end, in {@code Finished.status}. */
  static Failure of(com.google.rpc.Status status) {
    return decode(Status.fromCodeValue(status.getCode()).getCode(), status.getMessage(), status.getDetailsList());
  }

  /** The same failure, told by the reader: the cursor is the reader's own, because the server may be ahead of it. */
  Failure toldBy(String generation, int cursor, Usage known) {
    String id = generationId.isEmpty() ? generation : generationId;
    boolean told = !usage.equals(Usage.getDefaultInstance());
    return new Failure(code, reason, message, advice, ended, id, cursor, told ? usage : known, retryDelay, violations);
  }

  private static Failure decode(Status.Code code, String message, List<Any> details) {
    GenerationFailure failure = find(details, GenerationFailure.getDefaultInstance());
    var asked = find(details, RetryInfo.getDefaultInstance()).getRetryDelay();
    Duration delay = Duration.ofSeconds(asked.getSeconds(), asked.getNanos());
    // Unknown advice of a newer server counts as missing: the code alone then decides what follows.
    RetryAdvice advice = failure.getRetryAdvice();
    return new Failure(
        code,
        find(details, ErrorInfo.getDefaultInstance()).getReason(),
        message,
        advice == RetryAdvice.UNRECOGNIZED ? RetryAdvice.RETRY_ADVICE_UNSPECIFIED : advice,
        failure.getEnded(),
        failure.getGenerationId(),
        failure.getLastSequence(),
        failure.getUsage(),
        delay.isNegative() ? Duration.ZERO : delay,
        List.copyOf(find(details, BadRequest.getDefaultInstance()).getFieldViolationsList()));
  }

  /** The first detail of a type that can be read, or else the empty message given. */
  private static <T extends Message> T find(List<Any> details, T empty) {
    for (Any detail : details) {
      try {
        if (detail.isSameTypeAs(empty)) {
          return detail.unpackSameTypeAs(empty);
        }
      } catch (InvalidProtocolBufferException damaged) {
        // As good as not sent.
      }
    }
    return empty;
  }
}
