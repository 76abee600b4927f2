package io.tokengrpc.client;

import io.tokengrpc.client.StreamOptions.OnDeadline;
import io.tokengrpc.tokenstreaming.v1.DeadlineAction;
import io.tokengrpc.tokenstreaming.v1.DisconnectAction;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import java.time.Duration;
import java.util.UUID;

/**
 * What a caller asks, written into its request.
 *
 * @param request null for a stream that only reads a generation which another call started
 * @param ownId whether the id was made here, and may be replaced; one that the caller chose is kept
 * @param timeout null for none
 * @param failsAtTimeLimit whether the request's time limit stands for the timeout, and reaching it is an error
 */
record Plan(
    String generationId,
    StreamTokensRequest request,
    int after,
    boolean resumable,
    boolean ownId,
    Duration timeout,
    boolean failsAtTimeLimit) {

  static Plan start(StreamTokensRequest asked, StreamOptions options) {
    var request = asked.toBuilder();
    boolean ownId = request.getGenerationId().isEmpty();
    if (ownId) {
      request.setGenerationId(newId());
    }
    var recovery = request.getRecoveryBuilder();
    if (recovery.getDisconnectAction() == DisconnectAction.DISCONNECT_ACTION_UNSPECIFIED) {
      recovery.setDisconnectAction(
          options.resumable() ? DisconnectAction.DISCONNECT_ACTION_DETACH : DisconnectAction.DISCONNECT_ACTION_CANCEL);
    }
    boolean resumable =
        options.resumable() && recovery.getDisconnectAction() == DisconnectAction.DISCONNECT_ACTION_DETACH;
    boolean fails = options.onDeadline() == OnDeadline.FAIL;
    boolean limited = false;
    if (options.timeout() != null && resumable) {
      limited = limitTime(request, timeLimit(options.timeout()));
    } else if (options.timeout() != null) {
      request.getLimitsBuilder().setDeadlineAction(
          fails ? DeadlineAction.DEADLINE_ACTION_FAIL : DeadlineAction.DEADLINE_ACTION_FINISH_PARTIAL);
    }
    return new Plan(
        request.getGenerationId(), request.build(), 0, resumable, ownId, options.timeout(), limited && fails);
  }

  static Plan read(String generationId, int after, Duration timeout) {
    return new Plan(generationId, null, after, true, false, timeout, false);
  }

  static String newId() {
    return UUID.randomUUID().toString();
  }

  /**
   * How long a generation may run whose stream has a timeout: its end must arrive before that.
   *
   * <p>The server cuts the stream one margin before the timeout (250 ms plus the unit to which gRPC rounds timeouts up, at
   * most a fifth: the contract's default); the generation ends half a margin earlier.
   */
  static Duration timeLimit(Duration timeout) {
    double seconds = timeout.toNanos() / 1e9;
    double unit = seconds < 10 ? 0.01 : seconds < 100 ? 0.1 : seconds < 1_000 ? 1 : 10;
    return Duration.ofNanos((long) ((seconds - 1.5 * Math.min(0.25 + unit, seconds / 5)) * 1e9));
  }

  /** False when the request has a smaller limit already, which is kept. */
  private static boolean limitTime(StreamTokensRequest.Builder request, Duration limit) {
    var asked = request.getLimits().getTimeLimit();
    boolean set = request.getLimits().hasTimeLimit();
    if (set && Duration.ofSeconds(asked.getSeconds(), asked.getNanos()).compareTo(limit) <= 0) {
      return false;
    }
    request.getLimitsBuilder().getTimeLimitBuilder().setSeconds(limit.getSeconds()).setNanos(limit.getNano());
    return true;
  }
}
