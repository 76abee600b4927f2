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
 * @param timeout null for none
 */
record Plan(String generationId, StreamTokensRequest request, int after, boolean resumable, Duration timeout) {

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
      // The generation's own deadline, whatever becomes of the connection.
      request.getLimitsBuilder().setDeadlineAction(
          options.onDeadline() == OnDeadline.FAIL
              ? DeadlineAction.DEADLINE_ACTION_FAIL
              : DeadlineAction.DEADLINE_ACTION_FINISH_PARTIAL);
    }
    var action = request.getRecovery().getDisconnectAction();
    boolean resumable = options.resumable() && action == DisconnectAction.DISCONNECT_ACTION_DETACH;
    return new Plan(request.getGenerationId(), request.build(), 0, resumable, options.timeout());
  }

  static Plan read(String generationId, int after, Duration timeout) {
    return new Plan(generationId, null, after, true, timeout);
  }
}
