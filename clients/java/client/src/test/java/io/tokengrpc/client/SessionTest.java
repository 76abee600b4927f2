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
  private static final StreamTokensRequest HELLO =
      StreamTokensRequest.newBuilder().setGenerationId("g").setPrompt("hello").build();
  private static final Failure BROKEN = ResumePolicyTest.failure(Status.Code.UNAVAILABLE, "", null, false);
  private static final Failure FULL = ResumePolicyTest.failure(Status.Code.UNAVAILABLE, "OVERLOADED", "RETRY", false);

  private static final Failure GONE =
      ResumePolicyTest.failure(Status.Code.NOT_FOUND, "GENERATION_NOT_FOUND", "NEVER", false);

  private long now;

  @Test
  void aDropIsResumedAfterTheCursorUntilPatienceEnds() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(1, 0, "One"));
    var error = untilItGivesUp(session, BROKEN);
    assertGaveUpBefore(Duration.ofMinutes(1));
    assertEquals("CONNECTION_LOST", error.reason());
    assertEquals(RetryAdvice.RETRY_ADVICE_RESUME, error.failure().advice());
    assertEquals("One", error.partialText());
    assertEquals(1, error.failure().lastSequence());
    assertTrue(session.resuming());
    Cursor cursor = session.cursor();
    assertEquals("tg1.1.%08x..g".formatted(Checksum.update(0, "One")), cursor.toString());
    assertEquals(cursor, error.cursor().get());
    assertTrue(error.getMessage().endsWith("; resume with the cursor (cursor " + cursor + ")"));
    assertFalse(session.abandoned(), "another one may resume it");
  }

  @Test
  void patienceLastsUntilTheDeadline() {
    Session session = session(StreamOptions.DEFAULT.withTimeout(Duration.ofMinutes(10), OnDeadline.FAIL));
    session.calling();
    untilItGivesUp(session, BROKEN);
    assertGaveUpBefore(Duration.ofMinutes(10));
  }

  @Test
  void theCallersPatienceMayEndBeforeTheDeadline() {
    var options = StreamOptions.DEFAULT.withTimeout(Duration.ofMinutes(10), OnDeadline.FAIL);
    Session session = session(options, ResumePolicy.DEFAULT.withPatience(Duration.ofSeconds(5)));
    session.calling();
    now = Duration.ofSeconds(30).toNanos();
    untilItGivesUp(session, BROKEN);
    // Patience begins with the end of the first failed call.
    assertGaveUpBefore(Duration.ofSeconds(35));
  }

  @Test
  void delaysGrowWhileCallsBringNothing() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    for (int attempt = 0; attempt < 10; attempt++) {
      assertEquals(ResumePolicy.DEFAULT.backoff(attempt, 0.5), session.callEnded(false, BROKEN).get());
    }
    session.received(heartbeat());
    assertEquals(ResumePolicy.DEFAULT.backoff(0, 0.5), session.callEnded(false, BROKEN).get());
  }

  @Test
  void aHeartbeatRenewsPatience() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    assertTrue(session.callEnded(false, BROKEN).isPresent());
    now = Duration.ofMinutes(2).toNanos();
    session.received(heartbeat());
    assertTrue(session.callEnded(false, BROKEN).isPresent());
  }

  @Test
  void aServerThatCannotBeReachedIsToldByTheErrorOfTheCall() {
    Session session = session(StreamOptions.DEFAULT, ResumePolicy.DEFAULT.withPatience(Duration.ZERO));
    session.calling();
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(false, BROKEN));
    assertEquals("", error.reason());
    assertEquals("it failed", error.failure().message());
  }

  @Test
  void aServerThatStaysFrozenIsToldAsSuch() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(1, 0, "One"));
    var frozen = Status.UNAVAILABLE.withDescription("Keepalive failed. The connection is likely gone");
    assertTrue(session.callEnded(false, Failure.of(frozen.asException())).isPresent());
    var error = untilItGivesUp(session, Failure.of(LocalErrors.notConnected().asException()));
    assertEquals(
        "the connection broke and could not be resumed (the server did not answer a keepalive ping for 5 s);"
            + " resume with the cursor",
        error.failure().message());
  }

  @Test
  void aReaderThatIsToldOfACloseElsewhereDoesNotKeepItFromCancelling() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(1, 0, "One"));
    assertEquals("CANCELLED", session.stopped("closed while it was being read").reason());
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
  void aStartThatWasRejectedIsMadeAgainAsLongAsPatienceLasts() {
    for (boolean resumable : new boolean[] {true, false}) {
      now = 0;
      Session session = session(StreamOptions.DEFAULT.withResumable(resumable));
      session.calling();
      assertEquals("OVERLOADED", untilItGivesUp(session, FULL).reason());
      assertGaveUpBefore(Duration.ofMinutes(1));
      assertFalse(session.resuming(), "nothing has begun");
    }
  }

  @Test
  void anotherReplicaIsTriedAtOnceAfterARejectionThatConcernsOneServer() {
    for (String reason : List.of("OVERLOADED", "DRAINING")) {
      now = 0;
      Failure rejection = ResumePolicyTest.failure(Status.Code.UNAVAILABLE, reason, "RETRY", false);
      Session session = session(StreamOptions.DEFAULT);
      session.calling();
      assertEquals(Duration.ZERO, session.callEnded(false, rejection).get());
      assertEquals(ResumePolicy.DEFAULT.backoff(0, 0.5), session.callEnded(false, rejection).get());
      assertEquals(ResumePolicy.DEFAULT.backoff(1, 0.5), session.callEnded(false, rejection).get());
      session.received(started(1));
      assertEquals(Duration.ZERO, session.callEnded(true, rejection).get());
    }
  }

  @Test
  void enginesAreAskedAgainTwice() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    Failure unavailable = ResumePolicyTest.failure(Status.Code.UNAVAILABLE, "ENGINE_UNAVAILABLE", "RETRY", false);
    for (int start = 0; start < ResumePolicy.DEFAULT.retryAttempts(); start++) {
      assertEquals(ResumePolicy.DEFAULT.backoff(start, 0.5), session.callEnded(false, unavailable).get());
    }
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(false, unavailable));
    assertEquals("ENGINE_UNAVAILABLE", error.reason());
  }

  @Test
  void aGenerationThatTheServerLostBeforeAnyOutputIsStartedAgain() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    for (int start = 0; start < ResumePolicy.DEFAULT.retryAttempts(); start++) {
      session.received(started(1));
      assertTrue(session.resuming());
      assertTrue(session.callEnded(true, GONE).isPresent());
      assertFalse(session.resuming(), "what had arrived is discarded");
    }
    session.received(started(1));
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(true, GONE));
    assertEquals("GENERATION_LOST", error.reason());
    assertEquals(Status.Code.NOT_FOUND, error.code());
    assertEquals(1, error.failure().lastSequence());
  }

  @Test
  void aGenerationThatTheServerLostAfterOutputIsNotStartedAgain() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(1, 0, "One"));
    var error = assertThrows(TokenStreamException.class, () -> session.callEnded(true, GONE));
    assertEquals("GENERATION_LOST", error.reason());
    assertEquals(RetryAdvice.RETRY_ADVICE_RETRY, error.failure().advice());
    assertEquals("One", error.partialText());
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
  void aDetachedGenerationIsLeftToOthers() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    session.received(tokens(1, 0, "One"));
    Cursor cursor = session.detach();
    assertEquals(1, cursor.sequence());
    assertFalse(session.abandoned());
    assertFalse(session.received(tokens(2, 1, " two")), "the other reader gets it");
    assertEquals(cursor, session.cursor());
  }

  @Test
  void aStreamThatIsNotResumableCannotBeLeftToOthers() {
    Session session = session(StreamOptions.DEFAULT.withResumable(false));
    session.calling();
    var error = assertThrows(TokenStreamException.class, session::detach);
    assertEquals(Status.Code.FAILED_PRECONDITION, error.code());
    assertEquals("NOT_RESUMABLE", error.reason());
    assertTrue(session.received(tokens(1, 0, "One")), "nothing has changed");
  }

  @Test
  void aReaderOfSomebodyElsesGenerationCancelsItOnlyIfAsked() {
    for (boolean cancelOnClose : new boolean[] {true, false}) {
      var options = ResumeOptions.DEFAULT.withCancelOnClose(cancelOnClose);
      var plan = Plan.read(new Cursor("g", 1), options);
      Session session = new Session(plan, ResumePolicy.DEFAULT, () -> now, () -> 0.5);
      assertFalse(session.abandoned(), "no call has been made");
      session.calling();
      assertEquals(cancelOnClose, session.abandoned());
      session.received(finished(2, 1));
      assertFalse(session.abandoned());
    }
  }

  @Test
  void outputThatDiffersEndsTheGeneration() {
    Session session = session(StreamOptions.DEFAULT);
    session.calling();
    var wrong = tokens(1, 0, "One").toBuilder().setOutputChecksum(1).build();
    var error = assertThrows(TokenStreamException.class, () -> session.received(wrong));
    assertEquals("CHECKSUM_MISMATCH", error.reason());
    assertEquals(0, error.failure().lastSequence());
    assertTrue(session.abandoned());
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
    return session(options, ResumePolicy.DEFAULT);
  }

  private Session session(StreamOptions options, ResumePolicy policy) {
    return new Session(Plan.start(HELLO, options), policy, () -> now, () -> 0.5);
  }

  /** Ends call after call, each at once, and waits as the session says. */
  private TokenStreamException untilItGivesUp(Session session, Failure failure) {
    try {
      while (true) {
        now += session.callEnded(session.resuming(), failure).get().toNanos();
      }
    } catch (TokenStreamException error) {
      return error;
    }
  }


  /** Asserts that the session gave up when its next delay, the longest, would have ended after the limit. */
  private void assertGaveUpBefore(Duration limit) {
    Duration longest = ResumePolicy.DEFAULT.backoff(99, 0.5);
    assertTrue(now < limit.toNanos() && now + longest.toNanos() >= limit.toNanos(), () -> "after " + Duration.ofNanos(now));
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

  private static StreamTokensResponse started(int sequence) {
    var message = StreamTokensResponse.newBuilder().setSequence(sequence);
    message.getStartedBuilder().setModel("m");
    return message.build();
  }

  private static StreamTokensResponse heartbeat() {
    var message = StreamTokensResponse.newBuilder();
    message.getHeartbeatBuilder();
    return message.build();
  }

  private static StreamTokensResponse finished(int sequence, int reason) {
    var message = StreamTokensResponse.newBuilder().setSequence(sequence);
    message.getFinishedBuilder().setFinishReasonValue(reason);
    return message.build();
  }
}
