package io.tokengrpc.client;

import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.Finished;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse.EventCase;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse.NoticeCase;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.ToolCall;
import io.tokengrpc.tokenstreaming.v1.ToolCallFragment;
import io.tokengrpc.tokenstreaming.v1.Usage;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

/** Puts the messages of a generation's calls together: each event once, in order, without gaps. Does no I/O. */
final class Answer {
  private static final int UNKNOWN = -1;

  final StringBuilder text = new StringBuilder();
  final StringBuilder reasoningText = new StringBuilder();
  final StringBuilder refusalText = new StringBuilder();
  int sequence;
  boolean hasOutput;
  Usage usage = Usage.getDefaultInstance();

  /** Null until the generation has ended. */
  Finished finish;

  private final SortedMap<Integer, ToolCall.Builder> calls = new TreeMap<>();
  private final SortedMap<Integer, StringBuilder> arguments = new TreeMap<>();
  private int nextIndex;

  /** Starts after a sequence: 0, or where an earlier reader stopped. */
  Answer(int after) {
    sequence = after;
    nextIndex = after == 0 ? 0 : UNKNOWN;
  }

  /** Tool calls, whole once the generation has finished. */
  List<ToolCall> toolCalls() {
    calls.forEach((index, call) -> call.setArguments(arguments.get(index).toString()));
    return calls.values().stream().map(ToolCall.Builder::build).toList();
  }

  /**
   * Takes a message in; whether it is new, as notices always are.
   *
   * @throws TokenStreamException when something is missing between the last message and this one
   */
  boolean add(StreamTokensResponse message) {
    if (message.getNoticeCase() != NoticeCase.NOTICE_NOT_SET) {
      return true;
    }
    if (message.getSequence() <= sequence || finish != null) {
      return false;
    }
    // A kind of event that is unknown here is EVENT_NOT_SET: only its sequence counts then.
    if (message.getEventCase() != EventCase.EVENT_NOT_SET && message.getSequence() != sequence + 1) {
      throw gap("event " + message.getSequence() + " came after event " + sequence);
    }
    message.getTokensList().forEach(this::addToken);
    message.getToolCallFragmentsList().forEach(this::addFragment);
    if (message.hasUsage()) {
      usage = message.getUsage();
    }
    if (message.hasFinished()) {
      finish = message.getFinished();
    }
    sequence = message.getSequence();
    return true;
  }

  private void addToken(Token token) {
    if (nextIndex != UNKNOWN && token.getIndex() != nextIndex) {
      throw gap("token " + token.getIndex() + " came where token " + nextIndex + " was due");
    }
    nextIndex = token.getIndex() + token.getCount();
    text.append(token.getText());
    reasoningText.append(token.getReasoningText());
    refusalText.append(token.getRefusalText());
    hasOutput = true;
  }

  private void addFragment(ToolCallFragment fragment) {
    var call = calls.computeIfAbsent(fragment.getCallIndex(), index -> ToolCall.newBuilder());
    if (call.getId().isEmpty()) {
      call.setId(fragment.getId());
    }
    if (call.getFunctionName().isEmpty()) {
      call.setFunctionName(fragment.getFunctionName());
    }
    if (!fragment.getOpaque().isEmpty()) {
      call.setOpaque(fragment.getOpaque());
    }
    arguments
        .computeIfAbsent(fragment.getCallIndex(), index -> new StringBuilder())
        .append(fragment.getArgumentsFragment());
    hasOutput = true;
  }

  private static TokenStreamException gap(String what) {
    String message = "the stream has a gap (" + what + ")";
    RetryAdvice none = RetryAdvice.RETRY_ADVICE_UNSPECIFIED;
    return new TokenStreamException(new Failure(Status.Code.DATA_LOSS, "STREAM_GAP", message, none, false), "");
  }
}
