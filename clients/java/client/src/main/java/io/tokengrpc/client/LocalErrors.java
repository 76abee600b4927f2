package io.tokengrpc.client;

import com.google.gson.reflect.TypeToken;
import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import java.util.Map;
import java.util.regex.Pattern;

/** Errors that the client itself detects, with the texts of {@code error_texts.json}, which all languages share. */
final class LocalErrors {
  private static final Map<String, String> TEXTS =
      SharedFiles.read("error_texts.json", new TypeToken<Map<String, String>>() {});

  /** What gRPC says about a connection on which a keepalive ping remained without an answer. */
  private static final String KEEPALIVE_FAILED = "Keepalive failed. The connection is likely gone";

  private static final String FROZEN = TEXTS.get("server frozen");

  /** Words about connections that could not be opened, each with the name of the text that says what to do. */
  private static final Map<Pattern, String> HANDSHAKES =
      Map.of(
          Pattern.compile("CertPath|Certificate"), "certificate refused",
          Pattern.compile("not an SSL/TLS record"), "server without TLS",
          // With TLS 1.3, a server that misses the client's certificate just closes the connection, as it does for a
          // client without TLS.
          Pattern.compile("Network closed for unknown reason|Connection reset"), "closed at once");

  private static final String NOT_CONNECTED = "no connection to the server within the time for connecting";

  private LocalErrors() {}

  /** Returns gRPC's description of a failure; the shared text if the server does not answer keepalive pings. */
  static String describe(String description) {
    // Further lines have the parts of Netty that were passed.
    return description.equals(KEEPALIVE_FAILED) ? FROZEN : description.lines().findFirst().orElse("");
  }

  /** Returns what to do about a server to which no connection could be opened. */
  static String unreachable(String message) {
    return HANDSHAKES.entrySet().stream()
        .filter(known -> known.getKey().matcher(message).find())
        .map(known -> TEXTS.get(known.getValue()))
        .findAny()
        .orElse(TEXTS.get("server unreachable"));
  }

  /** Returns the status of a call for which no connection was established in time. */
  static Status notConnected() {
    return Status.UNAVAILABLE.withDescription(NOT_CONNECTED);
  }

  /** Returns whether a server that was frozen still is: its machine accepts a connection, but the server does not answer. */
  static boolean stillFrozen(Failure before, Failure now) {
    return before.message().equals(FROZEN) && now.message().equals(NOT_CONNECTED);
  }

  static Failure connectionLost(Failure cause, boolean resumable) {
    String text = resumable ? "CONNECTION_LOST" : "CONNECTION_LOST, not resumable";
    RetryAdvice advice = resumable ? RetryAdvice.RETRY_ADVICE_RESUME : RetryAdvice.RETRY_ADVICE_RETRY;
    return new Failure(cause.code(), "CONNECTION_LOST", text(text, withoutAdvice(cause)), advice, false);
  }

  static Failure generationLost(Failure cause) {
    String text = text("GENERATION_LOST", withoutAdvice(cause));
    return new Failure(cause.code(), "GENERATION_LOST", text, RetryAdvice.RETRY_ADVICE_RETRY, cause.ended());
  }

  static Failure streamGap(String cause) {
    return unadvised(Status.Code.DATA_LOSS, "STREAM_GAP", cause);
  }

  static Failure checksumMismatch(String cause) {
    return unadvised(Status.Code.DATA_LOSS, "CHECKSUM_MISMATCH", cause);
  }

  /** Quotes the text, in one line. */
  static Failure invalidCursor(String text) {
    String line = text.replaceAll("\\p{Cntrl}", "?");
    return unadvised(Status.Code.INVALID_ARGUMENT, "INVALID_CURSOR", '"' + line + '"');
  }

  static Failure notResumable() {
    return unadvised(Status.Code.FAILED_PRECONDITION, "NOT_RESUMABLE", "");
  }

  static Failure clientClosed() {
    return unadvised(Status.Code.FAILED_PRECONDITION, "CLIENT_CLOSED", "");
  }

  /** Returns the failure of a stream that ended with OK but without {@code finished}; it has no reason. */
  static Failure endedWithoutFinished() {
    String text = TEXTS.get("stream ended without finished");
    return new Failure(Status.Code.UNAVAILABLE, "", text, RetryAdvice.RETRY_ADVICE_UNSPECIFIED, false);
  }

  /** Returns the failure of a stream that its own reader has stopped. */
  static Failure stopped(String message) {
    return new Failure(Status.Code.CANCELLED, "CANCELLED", message, RetryAdvice.RETRY_ADVICE_UNSPECIFIED, false);
  }

  private static Failure unadvised(Status.Code code, String reason, String cause) {
    return new Failure(code, reason, text(reason, cause), RetryAdvice.RETRY_ADVICE_UNSPECIFIED, false);
  }

  private static String text(String key, String cause) {
    return TEXTS.get(key).replace("{cause}", cause);
  }

  /** Returns the message without its advice, which follows the last semicolon: the text has its own. */
  private static String withoutAdvice(Failure cause) {
    int advice = cause.message().lastIndexOf("; ");
    return advice < 0 ? cause.message() : cause.message().substring(0, advice);
  }
}
