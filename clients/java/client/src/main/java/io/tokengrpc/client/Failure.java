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
import javax.net.ssl.SSLException;

/**
 * The details of a failed call or generation.
 *
 * @param code the gRPC status
 * @param reason the contract's reason, such as {@code ENGINE_LOST}; empty if gRPC itself or a proxy failed the call
 * @param message what happened and what to do, in one line
 * @param advice what to do; {@code RETRY_ADVICE_UNSPECIFIED} if the failure has no advice
 * @param ended whether the generation itself has ended
 * @param generationId the generation; empty if the call had none
 * @param lastSequence the sequence of the last event received: the cursor for resuming
 * @param usage the generation's usage; the default instance if it is unknown
 * @param retryDelay the server's minimum delay before another attempt; zero if the server sets none
 * @param violations the invalid fields of the request
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

  /** Creates a failure that the client itself detects, without usage and retry delay. */
  Failure(Status.Code code, String reason, String message, RetryAdvice advice, boolean ended) {
    this(code, reason, message, advice, ended, "", 0, Usage.getDefaultInstance(), Duration.ZERO, List.of());
  }

  /** Decodes a failed call, including all readable details of its trailers. */
  static Failure of(StatusException error) {
    List<Any> details = List.of();
    try {
      com.google.rpc.Status told = StatusProto.fromThrowable(error);
      details = told == null ? details : told.getDetailsList();
    } catch (IllegalArgumentException damaged) {
      // A proxy changed the status or the trailers: gRPC's own code and description still apply.
    }
    Status status = error.getStatus();
    String message = status.getDescription() == null ? "" : LocalErrors.describe(status.getDescription());
    return decode(status.getCode(), message + because(status.getCause()), details);
  }

  /**
   * Returns the cause of a failed connection: gRPC's description is only "io exception". The cause has the details and the
   * address, and that of a failed handshake what is wrong with the certificate.
   */
  private static String because(Throwable cause) {
    if (!(cause instanceof SSLException)) {
      return cause == null ? "" : ": " + cause.getMessage();
    }
    Throwable first = cause;
    while (first.getCause() != null) {
      first = first.getCause();
    }
    // Only the name of the class says that a certificate has expired.
    return ": " + first.getClass().getSimpleName() + ": " + first.getMessage();
  }

  /** Decodes the outcome of the generation itself, {@code Finished.status}. */
  static Failure of(com.google.rpc.Status status) {
    return decode(Status.fromCodeValue(status.getCode()).getCode(), status.getMessage(), status.getDetailsList());
  }

  /** Adds the reader's id, usage and cursor. Its cursor replaces the server's, because the server may be ahead of it. */
  Failure toldBy(String generation, int cursor, Usage known) {
    String id = generationId.isEmpty() ? generation : generationId;
    boolean told = !usage.equals(Usage.getDefaultInstance());
    return new Failure(code, reason, message, advice, ended, id, cursor, told ? usage : known, retryDelay, violations);
  }

  private static Failure decode(Status.Code code, String message, List<Any> details) {
    GenerationFailure failure = find(details, GenerationFailure.getDefaultInstance());
    var asked = find(details, RetryInfo.getDefaultInstance()).getRetryDelay();
    Duration delay = Duration.ofSeconds(asked.getSeconds(), asked.getNanos());
    // Unknown advice from a newer server counts as missing: the code alone then decides the next step.
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

  /** Returns the first readable detail of the type of {@code empty}, or {@code empty} if there is none. */
  private static <T extends Message> T find(List<Any> details, T empty) {
    for (Any detail : details) {
      try {
        if (detail.isSameTypeAs(empty)) {
          return detail.unpackSameTypeAs(empty);
        }
      } catch (InvalidProtocolBufferException damaged) {
        // Ignored: a damaged detail counts as missing.
      }
    }
    return empty;
  }
}
