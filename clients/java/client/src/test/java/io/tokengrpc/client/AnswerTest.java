package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.protobuf.ByteString;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.ToolCall;
import io.tokengrpc.tokenstreaming.v1.ToolCallFragment;
import java.util.List;
import org.junit.jupiter.api.Test;

class AnswerTest {
  @Test
  void interleavedToolCallsAreAssembled() {
    var kept = ByteString.copyFromUtf8("kept");
    var message =
        StreamTokensResponse.newBuilder()
            .setSequence(1)
            .addToolCallFragments(fragment(1, "{").setId("b").setFunctionName("g"))
            .addToolCallFragments(fragment(0, "[").setId("a").setFunctionName("f"))
            .addToolCallFragments(fragment(1, "}").setOpaque(kept))
            .addToolCallFragments(fragment(0, "]"));
    var answer = new Answer(0);
    answer.add(message.build());
    var first = ToolCall.newBuilder().setId("a").setFunctionName("f").setArguments("[]");
    var second = ToolCall.newBuilder().setId("b").setFunctionName("g").setArguments("{}").setOpaque(kept);
    assertEquals(List.of(first.build(), second.build()), answer.toolCalls());
  }

  private static ToolCallFragment.Builder fragment(int callIndex, String arguments) {
    return ToolCallFragment.newBuilder().setCallIndex(callIndex).setArgumentsFragment(arguments);
  }
}
