package io.tokengrpc.client;

import java.time.Duration;

/**
 * The timeout and the disconnect behaviour of a stream.
 *
 * @param timeout the time after which the server ends the generation, keeping its output so far; null for none
 * @param onDeadline how the stream ends for its reader after the timeout
 * @param resumable if true, the generation survives a dropped connection and is cancelled when its stream is closed; if
 *     false, the generation stops with the connection
 */
public record StreamOptions(Duration timeout, OnDeadline onDeadline, boolean resumable) {

  /** No timeout, resumable. */
  public static final StreamOptions DEFAULT = new StreamOptions(null, OnDeadline.FAIL, true);

  /** How a stream ends for its reader after the timeout. */
  public enum OnDeadline {
    /** A TokenStreamException with DEADLINE_EXCEEDED, after the output so far. */
    FAIL,
    /** A normal end, after the output so far. */
    PARTIAL
  }

  /** Checks that the timeout is positive. */
  public StreamOptions {
    checkTimeout(timeout);
  }

  /** Returns these options with a timeout; null for none. */
  public StreamOptions withTimeout(Duration timeout, OnDeadline onDeadline) {
    return new StreamOptions(timeout, onDeadline, resumable);
  }

  /** Returns these options with another disconnect behaviour. */
  public StreamOptions withResumable(boolean resumable) {
    return new StreamOptions(timeout, onDeadline, resumable);
  }

  static void checkTimeout(Duration timeout) {
    if (timeout != null && (timeout.isZero() || timeout.isNegative())) {
      throw new IllegalArgumentException("timeout: " + timeout + " is over already; give a positive duration or null");
    }
  }
}
