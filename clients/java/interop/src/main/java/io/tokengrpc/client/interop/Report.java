package io.tokengrpc.client.interop;

import com.google.protobuf.ProtocolMessageEnum;
import io.tokengrpc.client.Failure;
import io.tokengrpc.client.TokenStream;
import io.tokengrpc.client.TokenStreamException;
import io.tokengrpc.tokenstreaming.v1.Generation;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.Token;
import java.util.Base64;
import java.util.List;
import java.util.Locale;

/** The report on stdout, filled in while the call runs; the field names are those of the driver protocol. */
final class Report {
  record ToolCall(String id, String function_name, String arguments, String opaque) {}

  record Usage(int input, int output, int reasoning, String source) {}

  record Error(
      String code,
      String reason,
      String message,
      String advice,
      boolean ended,
      String generation_id,
      int last_sequence,
      String line) {}

  static final class Notices {
    int attached;
    int heartbeat;
    int drain_notice;
  }

  final StringBuilder text = new StringBuilder();
  final StringBuilder reasoning_text = new StringBuilder();
  final StringBuilder refusal_text = new StringBuilder();
  List<ToolCall> tool_calls = List.of();
  int token_count;
  boolean indexes_gapless = true;
  int sequence;
  String cursor = "";
  Usage usage;
  String finish_reason = "";
  String state = "";
  Error error;
  int resumes;
  final Notices notices = new Notices();
  private transient Token last;

  void notice(StreamTokensResponse message) {
    switch (message.getNoticeCase()) {
      case ATTACHED -> notices.attached++;
      case HEARTBEAT -> notices.heartbeat++;
      case DRAIN_NOTICE -> notices.drain_notice++;
      default -> {}
    }
  }

  /** Adds a token that the reader received. */
  void token(Token token) {
    indexes_gapless &= last == null || token.getIndex() == last.getIndex() + last.getCount();
    last = token;
    token_count += token.getCount();
    text.append(token.getText());
    reasoning_text.append(token.getReasoningText());
    refusal_text.append(token.getRefusalText());
  }

  /** Adds the state of a stream, at its end or wherever reading stopped. */
  void tell(TokenStream stream) {
    sequence = stream.sequence();
    cursor = stream.cursor().toString();
    finish_reason = stream.finishReason();
    resumes = stream.resumes();
    tool_calls = stream.toolCalls().stream().map(Report::told).toList();
    if (sequence > 0) {
      usage = told(stream.usage());
    }
  }

  void tell(Generation generation) {
    state = name(generation.getState(), generation.getStateValue());
    sequence = generation.getLastSequence();
    usage = told(generation.getUsage());
    if (generation.hasFinished()) {
      var finished = generation.getFinished();
      finish_reason = name(finished.getFinishReason(), finished.getFinishReasonValue());
    }
  }

  void tell(TokenStreamException thrown) {
    Failure failure = thrown.failure();
    boolean advised = failure.advice() != RetryAdvice.RETRY_ADVICE_UNSPECIFIED;
    error =
        new Error(
            failure.code().name(),
            failure.reason(),
            failure.message(),
            advised ? name(failure.advice(), failure.advice().getNumber()) : "",
            failure.ended(),
            failure.generationId(),
            failure.lastSequence(),
            thrown.getMessage());
  }

  private static ToolCall told(io.tokengrpc.tokenstreaming.v1.ToolCall call) {
    String opaque = Base64.getEncoder().encodeToString(call.getOpaque().toByteArray());
    return new ToolCall(call.getId(), call.getFunctionName(), call.getArguments(), opaque);
  }

  private static Usage told(io.tokengrpc.tokenstreaming.v1.Usage usage) {
    return new Usage(
        usage.getInputTokenCount(),
        usage.getOutputTokenCount(),
        usage.getReasoningTokenCount(),
        name(usage.getSource(), usage.getSourceValue()));
  }

  /** Returns an enum value's name without the enum's prefix; the number if this version does not know the value. */
  private static String name(ProtocolMessageEnum value, int number) {
    var descriptor = value.getDescriptorForType();
    var known = descriptor.findValueByNumber(number);
    String prefix = descriptor.getName().replaceAll("(?<=[a-z])(?=[A-Z])", "_").toUpperCase(Locale.ROOT) + "_";
    return known == null ? String.valueOf(number) : known.getName().substring(prefix.length());
  }
}
