package io.tokengrpc.client;

import java.time.Duration;

/**
 * The timeout and the closing behaviour of a stream that reads a generation from a cursor.
 *
 * @param timeout the time after which the stream ends with DEADLINE_EXCEEDED; null for none
 * @param cancelOnClose if true, closing the stream early cancels the generation for all its readers; if false, the generation
 *     goes on
 */
public record ResumeOptions(Duration timeout, boolean cancelOnClose) {

  /** No timeout; closing the stream does not cancel the generation. */
  public static final ResumeOptions DEFAULT = new ResumeOptions(null, false);

  /** Checks that the timeout is positive. */
  public ResumeOptions {
    StreamOptions.checkTimeout(timeout);
  }

  /** Returns these options with a timeout; null for none. */
  public ResumeOptions withTimeout(Duration timeout) {
    return new ResumeOptions(timeout, cancelOnClose);
  }

  /** Returns these options with another closing behaviour. */
  public ResumeOptions withCancelOnClose(boolean cancelOnClose) {
    return new ResumeOptions(timeout, cancelOnClose);
  }
}
