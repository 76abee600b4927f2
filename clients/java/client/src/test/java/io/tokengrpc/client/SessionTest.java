package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.UnknownFieldSet;
import io.grpc.Status;
import io.tokengrpc.client.StreamOptions.OnDeadline;
import io.tokengrpc.tokenstreaming.v1.DeadlineAction;
import io.tokengrpc.tokenstreaming.v1.DisconnectAction;
import io.tokengrpc.tokenstreaming.v1.FinishReason;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.Usage;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

class SessionTest {
  private static final StreamTokensRequest HELLO = StreamTokensRequest.newBuilder().setPrompt("hello").build();
  private static final Failure BROKEN = ResumePolicyTest.failure(Status.Code.UNAVAILABLE, "", null, false);
  private static final Failure FULL = ResumePolicyTest.failure(Status.Code.UNAVAILABLE, "OVERLOADED", "RETRY", false);

  private long now;

  @Test
  void aDropIsResumedAfterTheCursorUntilAttemptsBringNothing() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(1, 0, "One"));
    for (int attempt = 0; attempt < ResumePolicy.DEFAULT.attempts(); attempt++) {
      assertEquals(ResumePolicy.DEFAULT.backoff(attempt, 0.5), session.callEnded(true, BROKEN).get());
      assertTrue(session.resuming());
      assertEquals(1, session.answer().sequence);
    }
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(session.resuming(), BROKEN));
    assertEquals("CONNECTION_LOST", error.reason());
    assertEquals("One", error.partialText());
    assertEquals(1, error.failure().lastSequence());
    assertFalse(session.abandoned(), "another one may resume it");
  }

  @Test
  void aReaderThatIsToldOfACloseElsewhereDoesNotKeepItFromCancelling() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(1, 0, "One"));
    assertEquals("CANCELLED", session.left("closed while it was read").reason());
    assertTrue(session.abandoned());
  }

  @Test
  void progressStartsTheCountOfAttemptsAgain() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    for (int sequence = 1; sequence <= 20; sequence++) {
      session.received(tokens(sequence, sequence - 1, "x"));
      assertTrue(session.callEnded(session.resuming(), BROKEN).isPresent());
      session.calling();
    }
    assertEquals(20, session.resumes());
  }

  @Test
  void aStartThatWasTurnedAwayIsRepeated() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    for (int start = 0; start < ResumePolicy.DEFAULT.retryAttempts(); start++) {
      assertTrue(session.callEnded(false, FULL).isPresent());
      assertFalse(session.resuming(), "nothing has begun");
    }
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(false, FULL));
    assertEquals("OVERLOADED", error.reason());
  }

  @Test
  void okIsNoEndOfWhatWasBegun() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(1, 0, "One"));
    assertTrue(session.callEnded(true, null).isPresent());
  }

  @Test
  void aWaitThatNobodyIsPatientForIsNotBegun() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    Failure inAnHour =
        new Failure(
            Status.Code.UNAVAILABLE,
            "OVERLOADED",
            "full",
            RetryAdvice.RETRY_ADVICE_RETRY,
            false,
            "",
            0,
            Usage.getDefaultInstance(),
            Duration.ofHours(1),
            List.of());
    assertEquals("OVERLOADED", assertThrows(TokenStreamException.class, () -> session.callEnded(false, inAnHour)).reason());
  }

  @Test
  void noWaitGoesBeyondTheDeadline() {
    Session session = session(StreamOptions.DEFAULT.withTimeout(Duration.ofSeconds(1), OnDeadline.FAIL));
    session.calling();
    session.received(tokens(1, 0, "One"));
    now = Duration.ofMillis(990).toNanos();
    assertEquals(Duration.ofMillis(10), session.timeLeft());
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(session.resuming(), BROKEN));
    assertEquals("CONNECTION_LOST", error.reason());
  }

  @Test
  void aTimeoutIsTheGenerationsOwnDeadline() {
    for (boolean resumable : new boolean[] {true, false}) {
      var options = StreamOptions.DEFAULT.withResumable(resumable);
      assertEquals(DeadlineAction.DEADLINE_ACTION_UNSPECIFIED, deadlineAction(options));
      options = options.withTimeout(Duration.ofSeconds(1), OnDeadline.FAIL);
      assertEquals(DeadlineAction.DEADLINE_ACTION_FAIL, deadlineAction(options));
      options = options.withTimeout(Duration.ofSeconds(1), OnDeadline.PARTIAL);
      assertEquals(DeadlineAction.DEADLINE_ACTION_FINISH_PARTIAL, deadlineAction(options));
    }
  }

  @Test
  void aStreamThatIsNotResumableIsGivenUpAtADrop() {
    var options = StreamOptions.DEFAULT.withResumable(false);
    var action = Plan.start(HELLO, options).request().getRecovery().getDisconnectAction();
    assertEquals(DisconnectAction.DISCONNECT_ACTION_CANCEL, action);
    Session session = session(options);
    session.calling();
    session.received(tokens(1, 0, "One"));
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(false, BROKEN));
    assertEquals("CONNECTION_LOST", error.reason());
  }

  @Test
  void noTokenIsDeliveredTwice() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(2, 0, "One", " two"));
    assertFalse(session.received(tokens(2, 0, "One", " two")));
    assertTrue(session.received(tokens(3, 2, " three")));
    assertEquals("One two three", session.answer().text.toString());
  }

  @Test
  void aGapIsAnErrorAndEndsTheGeneration() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(1, 0, "One"));
    var gap = assertThrows(TokenStreamException.class, () -> session.received(tokens(2, 2, " three")));
    assertEquals("STREAM_GAP", gap.reason());
    assertTrue(session.abandoned());
  }

  @Test
  void whatANewerServerSaysIsTakenAsItIs() throws InvalidProtocolBufferException {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    var news = UnknownFieldSet.Field.newBuilder().addLengthDelimited(ByteString.copyFromUtf8("new")).build();
    var unknownEvent =
        StreamTokensResponse.newBuilder()
            .setSequence(1)
            .setUnknownFields(UnknownFieldSet.newBuilder().addField(99, news).build())
            .build();
    session.received(StreamTokensResponse.parseFrom(unknownEvent.toByteString()));
    session.received(finished(2, 77));
    assertTrue(session.callEnded(false, null).isEmpty());
    assertEquals(2, session.answer().sequence);
  }

  private Session session(StreamOptions options) {
    return new Session(Plan.start(HELLO, options), ResumePolicy.DEFAULT, () -> now, () -> 0.5);
  }

  private static DeadlineAction deadlineAction(StreamOptions options) {
    return Plan.start(HELLO, options).request().getLimits().getDeadlineAction();
  }

  private static StreamTokensResponse tokens(int sequence, int index, String... texts) {
    var message = StreamTokensResponse.newBuilder().setSequence(sequence);
    for (String text : texts) {
      message.addTokens(Token.newBuilder().setIndex(index++).setCount(1).setText(text));
    }
    return message.build();
  }

  private static StreamTokensResponse finished(int sequence, int reason) {
    var message = StreamTokensResponse.newBuilder().setSequence(sequence);
    message.getFinishedBuilder().setFinishReasonValue(reason);
    return message.build();
  }
}
