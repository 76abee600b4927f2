package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.ToolCall;
import io.tokengrpc.tokenstreaming.v1.ToolCallFragment;
import java.util.List;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;

class AnswerTest {
  private final Answer answer = new Answer(new Cursor("g", 0));

  @Test
  void interleavedToolCallsAreAssembled() {
    var kept = ByteString.copyFromUtf8("kept");
    var message =
        message(1)
            .addToolCallFragments(fragment(1, "{").setId("b").setFunctionName("g"))
            .addToolCallFragments(fragment(0, "[").setId("a").setFunctionName("f"))
            .addToolCallFragments(fragment(1, "}").setOpaque(kept))
            .addToolCallFragments(fragment(0, "]"));
    answer.add(message.build());
    var first = ToolCall.newBuilder().setId("a").setFunctionName("f").setArguments("[]");
    var second = ToolCall.newBuilder().setId("b").setFunctionName("g").setArguments("{}").setOpaque(kept);
    assertEquals(List.of(first.build(), second.build()), answer.toolCalls());
  }

  @Test
  void theChecksumIsThatOfAllOutputInOrder() {
    answer.add(message(1).addTokens(token(0, "für").setReasoningText("hm").setRefusalText("no")).build());
    var fragment = fragment(0, "{}").setId("a").setFunctionName("f");
    answer.add(message(2).addToolCallFragments(fragment).setOutputChecksum(crc("fürhmnoaf{}")).build());
    assertEquals(OptionalInt.of(crc("fürhmnoaf{}")), answer.cursor("g").checksum());
  }

  @Test
  void outputOtherThanTheServersIsAnErrorBeforeItReachesTheReader() {
    answer.add(message(1).addTokens(token(0, "One")).setOutputChecksum(crc("One")).build());
    Cursor before = answer.cursor("g");
    var wrong = message(2).addTokens(token(1, " two")).setOutputChecksum(crc("One, two")).build();
    var error = assertThrows(TokenStreamException.class, () -> answer.add(wrong));
    assertEquals("CHECKSUM_MISMATCH", error.reason());
    assertEquals("One", answer.text.toString());
    assertEquals(before, answer.cursor("g"));
  }

  @Test
  void aGapInAMessageKeepsAllOfItFromTheReader() {
    var gap = message(1).addTokens(token(0, "One")).addTokens(token(2, " three")).build();
    assertEquals("STREAM_GAP", assertThrows(TokenStreamException.class, () -> answer.add(gap)).reason());
    assertEquals("", answer.text.toString());
  }

  @Test
  void beforeAnyOutputThereIsNoChecksum() {
    var started = message(1);
    started.getStartedBuilder().setLogIncarnation("inc");
    answer.add(started.build());
    assertEquals(new Cursor("g", 1, "inc", OptionalInt.empty()), answer.cursor("g"));
  }

  @Test
  void theChecksumGoesOnFromACursor() {
    Answer rest = new Answer(Cursor.parse("tg1.1.%08x.inc.g".formatted(crc("One"))));
    rest.add(message(2).addTokens(token(7, " two")).setOutputChecksum(crc("One two")).build());
    assertEquals(new Cursor("g", 2, "inc", OptionalInt.of(crc("One two"))), rest.cursor("g"));
  }

  @Test
  void anUnknownChecksumIsTakenFromTheServer() {
    Answer rest = new Answer(new Cursor("g", 1));
    rest.add(message(2).addTokens(token(1, " two")).build());
    assertEquals(OptionalInt.empty(), rest.cursor("g").checksum());
    rest.add(message(3).addTokens(token(2, " three")).setOutputChecksum(crc("One two three")).build());
    rest.add(message(4).addTokens(token(3, " four")).build());
    assertEquals(OptionalInt.of(crc("One two three four")), rest.cursor("g").checksum());
    var wrong = message(5).addTokens(token(4, "")).setOutputChecksum(0).build();
    assertThrows(TokenStreamException.class, () -> rest.add(wrong));
  }

  @Test
  void anAttachedReaderLearnsTheIncarnation() {
    var attached = StreamTokensResponse.newBuilder();
    attached.getAttachedBuilder().setLogIncarnation("inc");
    assertTrue(answer.add(attached.build()));
    assertEquals("tg1.0..inc.g", answer.cursor("g").toString());
  }

  private static StreamTokensResponse.Builder message(int sequence) {
    return StreamTokensResponse.newBuilder().setSequence(sequence);
  }

  private static Token.Builder token(int index, String text) {
    return Token.newBuilder().setIndex(index).setCount(1).setText(text);
  }

  private static ToolCallFragment.Builder fragment(int callIndex, String arguments) {
    return ToolCallFragment.newBuilder().setCallIndex(callIndex).setArgumentsFragment(arguments);
  }

  private static int crc(String output) {
    return Checksum.update(0, output);
  }
}
