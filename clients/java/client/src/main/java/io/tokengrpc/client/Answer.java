package io.tokengrpc.client;

import io.tokengrpc.tokenstreaming.v1.Finished;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse.EventCase;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse.NoticeCase;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.ToolCall;
import io.tokengrpc.tokenstreaming.v1.ToolCallFragment;
import io.tokengrpc.tokenstreaming.v1.Usage;
import java.util.List;
import java.util.OptionalInt;
import java.util.SortedMap;
import java.util.TreeMap;

/** Assembles the messages of all calls of a generation: each event once, in order, without gaps. Does no I/O. */
final class Answer {
  private static final int UNKNOWN_INDEX = -1;

  final StringBuilder text = new StringBuilder();
  final StringBuilder reasoningText = new StringBuilder();
  final StringBuilder refusalText = new StringBuilder();
  int sequence;

  /** Whether any output has arrived, or is before the start. */
  boolean hasOutput;

  Usage usage = Usage.getDefaultInstance();

  /** Null until the generation has ended. */
  Finished finish;

  private final SortedMap<Integer, ToolCall.Builder> calls = new TreeMap<>();
  private final SortedMap<Integer, StringBuilder> arguments = new TreeMap<>();
  private String logIncarnation;
  private int nextIndex;

  /** CRC-32 of all output up to {@code sequence}; empty if unknown. */
  private OptionalInt checksum;

  /** Starts at a cursor: that of an earlier reader, or the beginning. */
  Answer(Cursor start) {
    sequence = start.sequence();
    logIncarnation = start.logIncarnation();
    hasOutput = start.checksum().isPresent();
    checksum = sequence == 0 && !hasOutput ? OptionalInt.of(0) : start.checksum();
    nextIndex = sequence == 0 ? 0 : UNKNOWN_INDEX;
  }

  /** Returns the position after the last message. */
  Cursor cursor(String generationId) {
    return new Cursor(generationId, sequence, logIncarnation, hasOutput ? checksum : OptionalInt.empty());
  }

  /** Returns the tool calls so far; they are complete once the generation has finished. */
  List<ToolCall> toolCalls() {
    calls.forEach((index, call) -> call.setArguments(arguments.get(index).toString()));
    return calls.values().stream().map(ToolCall.Builder::build).toList();
  }

  /**
   * Adds a message and returns whether it is new. Notices are always new.
   *
   * @throws TokenStreamException if an event or a token is missing before this message, or if its checksum is not that of the
   *     output; then nothing of the message is added
   */
  boolean add(StreamTokensResponse message) {
    if (message.getNoticeCase() != NoticeCase.NOTICE_NOT_SET) {
      learnIncarnation(message.getAttached().getLogIncarnation());
      return true;
    }
    if (message.getSequence() <= sequence || finish != null) {
      return false;
    }
    // An event kind that this version does not know appears as EVENT_NOT_SET: only its sequence counts.
    if (message.getEventCase() != EventCase.EVENT_NOT_SET && message.getSequence() != sequence + 1) {
      throw gap("event " + message.getSequence() + " came after event " + sequence);
    }
    int following = checkIndexes(message.getTokensList());
    checksum = check(message);
    nextIndex = following;
    hasOutput |= message.hasOutputChecksum();
    message.getTokensList().forEach(this::addToken);
    message.getToolCallFragmentsList().forEach(this::addFragment);
    learnIncarnation(message.getStarted().getLogIncarnation());
    if (message.hasUsage()) {
      usage = message.getUsage();
    }
    if (message.hasFinished()) {
      finish = message.getFinished();
    }
    sequence = message.getSequence();
    return true;
  }

  private void learnIncarnation(String name) {
    if (!name.isEmpty()) {
      logIncarnation = name;
    }
  }

  /** Returns the index that follows the tokens. */
  private int checkIndexes(List<Token> tokens) {
    int next = nextIndex;
    for (Token token : tokens) {
      if (next != UNKNOWN_INDEX && token.getIndex() != next) {
        throw gap("token " + token.getIndex() + " came where token " + next + " was due");
      }
      next = token.getIndex() + token.getCount();
    }
    return next;
  }

  /** Returns the checksum after the message: the client's own, or that of the message if the client's is unknown. */
  private OptionalInt check(StreamTokensResponse message) {
    OptionalInt told =
        message.hasOutputChecksum() ? OptionalInt.of(message.getOutputChecksum()) : OptionalInt.empty();
    if (checksum.isEmpty()) {
      return told;
    }
    int own = checksum.getAsInt();
    for (Token token : message.getTokensList()) {
      own = Checksum.update(own, token.getText());
      own = Checksum.update(own, token.getReasoningText());
      own = Checksum.update(own, token.getRefusalText());
    }
    for (ToolCallFragment fragment : message.getToolCallFragmentsList()) {
      own = Checksum.update(own, fragment.getId());
      own = Checksum.update(own, fragment.getFunctionName());
      own = Checksum.update(own, fragment.getArgumentsFragment());
    }
    if (told.isPresent() && told.getAsInt() != own) {
      String cause =
          String.format(
              "at sequence %d, the server's checksum is %08x, this client's %08x",
              message.getSequence(),
              told.getAsInt(),
              own);
      throw new TokenStreamException(LocalErrors.checksumMismatch(cause));
    }
    return OptionalInt.of(own);
  }

  private void addToken(Token token) {
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

  private static TokenStreamException gap(String cause) {
    return new TokenStreamException(LocalErrors.streamGap(cause));
  }
}
