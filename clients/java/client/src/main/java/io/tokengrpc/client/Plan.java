package io.tokengrpc.client;

import io.tokengrpc.client.StreamOptions.OnDeadline;
import io.tokengrpc.tokenstreaming.v1.DeadlineAction;
import io.tokengrpc.tokenstreaming.v1.DisconnectAction;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import java.time.Duration;
import java.util.UUID;

/**
 * The caller's request or cursor, completed from its options.
 *
 * @param start where reading begins
 * @param request null for a read-only stream, whose generation another call started
 * @param cancelOnClose whether a reader that stops early stops the generation; not done if it is not resumable, because it
 *     then stops with the connection
 * @param timeout null for none
 */
record Plan(Cursor start, StreamTokensRequest request, boolean resumable, boolean cancelOnClose, Duration timeout) {

  static Plan start(StreamTokensRequest asked, StreamOptions options) {
    var request = asked.toBuilder();
    if (request.getGenerationId().isEmpty()) {
      request.setGenerationId(UUID.randomUUID().toString());
    }
    if (asked.getRecovery().getDisconnectAction() == DisconnectAction.DISCONNECT_ACTION_UNSPECIFIED) {
      request.getRecoveryBuilder().setDisconnectAction(
          options.resumable() ? DisconnectAction.DISCONNECT_ACTION_DETACH : DisconnectAction.DISCONNECT_ACTION_CANCEL);
    }
    var unasked = asked.getLimits().getDeadlineAction() == DeadlineAction.DEADLINE_ACTION_UNSPECIFIED;
    if (options.timeout() != null && unasked) {
      // The server applies the deadline to the generation itself, even if the connection breaks.
      request.getLimitsBuilder().setDeadlineAction(
          options.onDeadline() == OnDeadline.FAIL
              ? DeadlineAction.DEADLINE_ACTION_FAIL
              : DeadlineAction.DEADLINE_ACTION_FINISH_PARTIAL);
    }
    var action = request.getRecovery().getDisconnectAction();
    boolean resumable = options.resumable() && action == DisconnectAction.DISCONNECT_ACTION_DETACH;
    var start = new Cursor(request.getGenerationId(), 0);
    return new Plan(start, request.build(), resumable, resumable, options.timeout());
  }

  static Plan read(Cursor cursor, ResumeOptions options) {
    return new Plan(cursor, null, true, options.cancelOnClose(), options.timeout());
  }

  String generationId() {
    return start.generationId();
  }

  boolean readOnly() {
    return request == null;
  }
}
