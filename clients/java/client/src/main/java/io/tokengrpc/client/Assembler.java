package io.tokengrpc.client;

import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.FinishReason;
import io.tokengrpc.tokenstreaming.v1.Finished;
import io.tokengrpc.tokenstreaming.v1.GenerationState;
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
final class Assembler {
  private static final int UNKNOWN = -1;

  final StringBuilder text = new StringBuilder();
  final StringBuilder reasoningText = new StringBuilder();
  final StringBuilder refusalText = new StringBuilder();
  int sequence;
  boolean hasOutput;
  Usage usage = Usage.getDefaultInstance();
  GenerationState state = GenerationState.GENERATION_STATE_UNSPECIFIED;

  /** Null until the generation has ended. */
  Finished finish;

  private final SortedMap<Integer, Call> calls = new TreeMap<>();
  private int nextIndex;

  /** A tool call as it comes. */
  private static final class Call {
    final StringBuilder arguments = new StringBuilder();
    String id = "";
    String functionName = "";

    ToolCall whole() {
      return ToolCall.newBuilder().setId(id).setFunctionName(functionName).setArguments(arguments.toString()).build();
    }
  }

  /** Starts after a sequence: 0, or where an earlier reader stopped. */
  Assembler(int after) {
    sequence = after;
    nextIndex = after == 0 ? 0 : UNKNOWN;
  }

  /** Tool calls, whole once the generation has finished. */
  List<ToolCall> toolCalls() {
    return calls.values().stream().map(Call::whole).toList();
  }

  /**
   * Takes a message in; answers what is new of it, or null when all of it had arrived before.
   *
   * @throws TokenStreamException when something is missing between the last message and this one
   */
  StreamTokensResponse add(StreamTokensResponse message) {
    switch (message.getNoticeCase()) {
      case ATTACHED -> state = message.getAttached().getState();
      case HEARTBEAT -> state = message.getHeartbeat().getState();
      default -> {}
    }
    if (message.getNoticeCase() != NoticeCase.NOTICE_NOT_SET) {
      return message;
    }
    // A kind of event that is unknown here is EVENT_NOT_SET: only its sequence counts then.
    EventCase event = message.getEventCase();
    if (message.getSequence() <= sequence || finish != null) {
      return null;
    }
    if (event != EventCase.EVENT_NOT_SET && message.getSequence() != sequence + 1) {
      throw gap("event " + message.getSequence() + " came after event " + sequence);
    }
    StreamTokensResponse news = withoutOldTokens(message);
    news.getTokensList().forEach(this::addToken);
    news.getToolCallFragmentsList().forEach(this::addFragment);
    if (message.hasUsage()) {
      usage = message.getUsage();
    }
    if (event == EventCase.STARTED) {
      state = GenerationState.GENERATION_STATE_PREFILLING;
    } else if (event == EventCase.FINISHED) {
      end(message.getFinished());
    }
    sequence = message.getSequence();
    return news;
  }

  /** Notes how the generation ended, from its {@code finished} event or from GetGeneration. */
  void end(Finished finished) {
    finish = finished;
    if (finished.getFinishReason() == FinishReason.FINISH_REASON_CANCELLED) {
      state = GenerationState.GENERATION_STATE_CANCELLED;
    } else {
      boolean well = finished.getStatus().getCode() == Status.Code.OK.value();
      state = well ? GenerationState.GENERATION_STATE_SUCCEEDED : GenerationState.GENERATION_STATE_FAILED;
    }
  }

  private StreamTokensResponse withoutOldTokens(StreamTokensResponse message) {
    if (message.getTokensCount() == 0 || message.getTokens(0).getIndex() >= nextIndex) {
      return message;
    }
    List<Token> kept = message.getTokensList().stream().filter(token -> token.getIndex() >= nextIndex).toList();
    return message.toBuilder().clearTokens().addAllTokens(kept).build();
  }

  private void addToken(Token token) {
    if (nextIndex != UNKNOWN && token.getIndex() != nextIndex) {
      throw gap("token " + token.getIndex() + " came where token " + nextIndex + " was due");
    }
    nextIndex = token.getIndex() + token.getCount();
    text.append(token.getText());
    reasoningText.append(token.getReasoningText());
    refusalText.append(token.getRefusalText());
    outputCame();
  }

  private void addFragment(ToolCallFragment fragment) {
    Call call = calls.computeIfAbsent(fragment.getCallIndex(), index -> new Call());
    call.id = call.id.isEmpty() ? fragment.getId() : call.id;
    call.functionName = call.functionName.isEmpty() ? fragment.getFunctionName() : call.functionName;
    call.arguments.append(fragment.getArgumentsFragment());
    outputCame();
  }

  private void outputCame() {
    hasOutput = true;
    state = GenerationState.GENERATION_STATE_GENERATING;
  }

  private static TokenStreamException gap(String what) {
    String message = "the stream has a gap (" + what + ")";
    RetryAdvice none = RetryAdvice.RETRY_ADVICE_UNSPECIFIED;
    return new TokenStreamException(new Failure(Status.Code.DATA_LOSS, "STREAM_GAP", message, none, false), "");
  }
}
