package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.UnknownFieldSet;
import io.grpc.Status;
import io.tokengrpc.client.Session.Done;
import io.tokengrpc.client.Session.Resume;
import io.tokengrpc.client.Session.Start;
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
    session.begin();
    session.received(tokens(1, 0, "One"));
    for (int attempt = 0; attempt < ResumePolicy.DEFAULT.attempts(); attempt++) {
      Resume resume = assertInstanceOf(Resume.class, session.callEnded(BROKEN));
      assertEquals(1, resume.request().getAfterSequence());
      assertEquals(ResumePolicy.DEFAULT.backoff(attempt, 0.5), resume.delay());
    }
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(BROKEN));
    assertEquals("CONNECTION_LOST", error.reason());
    assertEquals("One", error.partialText());
    assertEquals(1, error.failure().lastSequence());
    assertFalse(session.abandoned(), "another one may resume it");
  }

  @Test
  void aReaderThatIsToldOfACloseElsewhereDoesNotKeepItFromCancelling() {
    Session session = session(StreamOptions.DEFAULT);
    session.begin();
    session.received(tokens(1, 0, "One"));
    assertEquals("CANCELLED", session.left("closed while it was read").reason());
    assertTrue(session.abandoned());
  }

  @Test
  void progressStartsTheCountOfAttemptsAgain() {
    Session session = session(StreamOptions.DEFAULT);
    session.begin();
    for (int sequence = 1; sequence <= 20; sequence++) {
      session.received(tokens(sequence, sequence - 1, "x"));
      assertInstanceOf(Resume.class, session.callEnded(BROKEN));
    }
    assertEquals(20, session.resumes());
  }

  @Test
  void aStartThatWasTurnedAwayIsRepeatedUnderANewId() {
    Session session = session(StreamOptions.DEFAULT);
    Start first = (Start) session.begin();
    Start second = (Start) session.callEnded(FULL);
    assertNotEquals(first.request().getGenerationId(), second.request().getGenerationId());
    session.callEnded(FULL);
    assertEquals("OVERLOADED", assertThrows(TokenStreamException.class, () -> session.callEnded(FULL)).reason());
  }

  @Test
  void anIdIsKeptOnceACallBrokeBecauseItsGenerationMayRun() {
    Session session = session(StreamOptions.DEFAULT);
    Start first = (Start) session.begin();
    session.callEnded(BROKEN);
    Start third = (Start) session.callEnded(FULL);
    assertEquals(first.request().getGenerationId(), third.request().getGenerationId());
  }

  @Test
  void aWaitThatNobodyIsPatientForIsNotBegun() {
    Session session = session(StreamOptions.DEFAULT);
    session.begin();
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
    assertEquals("OVERLOADED", assertThrows(TokenStreamException.class, () -> session.callEnded(inAnHour)).reason());
  }

  @Test
  void noWaitGoesBeyondTheDeadline() {
    Session session = session(StreamOptions.DEFAULT.withTimeout(Duration.ofSeconds(1), OnDeadline.FAIL));
    session.begin();
    session.received(tokens(1, 0, "One"));
    now = Duration.ofMillis(990).toNanos();
    assertEquals(Duration.ofMillis(10), session.timeLeft());
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(BROKEN));
    assertEquals(Status.Code.DEADLINE_EXCEEDED, error.code());
    assertTrue(session.abandoned(), "nobody will come back");
  }

  @Test
  void theTimeLimitIsAnErrorOnlyWhereTheDeadlineShallFail() {
    for (OnDeadline onDeadline : OnDeadline.values()) {
      Session session = session(StreamOptions.DEFAULT.withTimeout(Duration.ofSeconds(1), onDeadline));
      Start start = (Start) session.begin();
      assertEquals(700_000_000, start.request().getLimits().getTimeLimit().getNanos());
      session.received(finished(1, FinishReason.FINISH_REASON_TIME_LIMIT_VALUE));
      if (onDeadline == OnDeadline.PARTIAL) {
        assertInstanceOf(Done.class, session.callEnded(null));
      } else {
        assertTrue(assertThrows(TokenStreamException.class, () -> session.callEnded(null)).failure().ended());
      }
    }
  }

  @Test
  void aStreamThatIsNotResumableLeavesItsDeadlineToTheServerAndIsGivenUpAtADrop() {
    var options = StreamOptions.DEFAULT.withResumable(false).withTimeout(Duration.ofSeconds(1), OnDeadline.PARTIAL);
    Session session = session(options);
    StreamTokensRequest request = ((Start) session.begin()).request();
    assertEquals(DisconnectAction.DISCONNECT_ACTION_CANCEL, request.getRecovery().getDisconnectAction());
    assertEquals(DeadlineAction.DEADLINE_ACTION_FINISH_PARTIAL, request.getLimits().getDeadlineAction());
    assertFalse(request.getLimits().hasTimeLimit());
    session.received(tokens(1, 0, "One"));
    assertEquals("CONNECTION_LOST", assertThrows(TokenStreamException.class, () -> session.callEnded(BROKEN)).reason());
  }

  @Test
  void noTokenIsDeliveredTwice() {
    Session session = session(StreamOptions.DEFAULT);
    session.begin();
    session.received(tokens(2, 0, "One", " two"));
    assertNull(session.received(tokens(2, 0, "One", " two")));
    assertEquals(1, session.received(tokens(3, 1, " two", " three")).getTokensCount());
    assertEquals("One two three", session.assembler().text.toString());
  }

  @Test
  void aGapIsAnErrorAndEndsTheGeneration() {
    Session session = session(StreamOptions.DEFAULT);
    session.begin();
    session.received(tokens(1, 0, "One"));
    var gap = assertThrows(TokenStreamException.class, () -> session.received(tokens(2, 2, " three")));
    assertEquals("STREAM_GAP", gap.reason());
    assertTrue(session.abandoned());
  }

  @Test
  void whatANewerServerSaysIsTakenAsItIs() throws InvalidProtocolBufferException {
    Session session = session(StreamOptions.DEFAULT);
    session.begin();
    var news = UnknownFieldSet.Field.newBuilder().addLengthDelimited(ByteString.copyFromUtf8("new")).build();
    var unknownEvent =
        StreamTokensResponse.newBuilder()
            .setSequence(1)
            .setUnknownFields(UnknownFieldSet.newBuilder().addField(99, news).build())
            .build();
    session.received(StreamTokensResponse.parseFrom(unknownEvent.toByteString()));
    session.received(finished(2, 77));
    assertInstanceOf(Done.class, session.callEnded(null));
    assertEquals(2, session.assembler().sequence);
  }

  private Session session(StreamOptions options) {
    return new Session(Plan.start(HELLO, options), ResumePolicy.DEFAULT, () -> now, () -> 0.5);
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
