package io.tokengrpc.client;

import java.time.Duration;

/**
 * How a stream lives and ends.
 *
 * @param timeout after which the generation ends on the server with what there is; null for none
 * @param onDeadline what the reader sees then
 * @param resumable true: the generation survives a dropped connection and is cancelled when its reader leaves; false: it
 *     stops with the connection
 */
public record StreamOptions(Duration timeout, OnDeadline onDeadline, boolean resumable) {

  public static final StreamOptions DEFAULT = new StreamOptions(null, OnDeadline.FAIL, true);

  public enum OnDeadline {
    /** A TokenStreamException with DEADLINE_EXCEEDED, after what there was. */
    FAIL,
    /** A normal end. */
    PARTIAL
  }

  public StreamOptions {
    if (timeout != null && (timeout.isZero() || timeout.isNegative())) {
      throw new IllegalArgumentException("timeout: " + timeout + " is over already; give a positive duration or null");
    }
  }

  public StreamOptions withTimeout(Duration timeout, OnDeadline onDeadline) {
    return new StreamOptions(timeout, onDeadline, resumable);
  }

  public StreamOptions withResumable(boolean resumable) {
    return new StreamOptions(timeout, onDeadline, resumable);
  }
}
