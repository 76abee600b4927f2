package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.grpc.Status;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CursorTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "tg1.57.9ae0daaf.k3Jq0wXb.chat-7",
        "tg1.0...chat-7",
        "tg1.2147483647.00000000.-_.a.b..~",
      })
  void theTextOfACursorIsReadAsItWasWritten(String text) {
    assertEquals(text, Cursor.parse(text).toString());
  }

  @Test
  void aCursorHasItsParts() {
    var cursor = new Cursor("chat.7", 57, "k3Jq0wXb", OptionalInt.of(0x9ae0daaf));
    assertEquals(cursor, Cursor.parse("tg1.57.9ae0daaf.k3Jq0wXb.chat.7"));
    assertEquals(new Cursor("chat-7", 3), Cursor.parse("tg1.3...chat-7"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "chat-7",
        "tg2.0...chat-7",
        "tg1.0..chat-7",
        "tg1....chat-7",
        "tg1.0...",
        "tg1.-1...chat-7",
        "tg1.+1...chat-7",
        "tg1.01...chat-7",
        "tg1.2147483648...chat-7",
        "tg1.١...chat-7",
        "tg1.1.9AE0DAAF..chat-7",
        "tg1.1.9ae0daa..chat-7",
        "tg1.1..k3+q.chat-7",
        "tg1.1...chat 7",
        "tg1.1...chat-7\n",
        "tg1.1; ...chat-7",
      })
  void anythingElseIsRefused(String text) {
    var error = assertThrows(TokenStreamException.class, () -> Cursor.parse(text));
    assertEquals(Status.Code.INVALID_ARGUMENT, error.code());
    assertEquals("INVALID_CURSOR", error.reason());
    assertEquals('"' + text.replace('\n', '?') + "\" is not a cursor; pass one as the stream gave it", error.failure().message());
  }
}
