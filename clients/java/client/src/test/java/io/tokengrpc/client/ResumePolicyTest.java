package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import io.grpc.Status;
import io.tokengrpc.client.ResumePolicy.Step;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ResumePolicyTest {
  /** The table in docs/client-policy.md; {@code when} is the call: started, resumed, or resumed after some events. */
  @ParameterizedTest
  @CsvSource({
    "UNAVAILABLE,         ,                       ,       STARTED, RECONNECT",
    "CANCELLED,           ,                       ,       BEGUN,   RECONNECT",
    "INTERNAL,            ,                       ,       STARTED, RECONNECT",
    "UNKNOWN,             ,                       ,       STARTED, RECONNECT",
    "DEADLINE_EXCEEDED,   ,                       ,       BEGUN,   RAISE",
    "UNIMPLEMENTED,       ,                       ,       STARTED, RAISE",
    "UNAVAILABLE,         READER_TOO_SLOW,        RESUME, BEGUN,   RECONNECT",
    "UNAVAILABLE,         FROM_THE_FUTURE,        RESUME, BEGUN,   RECONNECT",
    "UNAVAILABLE,         FROM_THE_FUTURE,        RETRY,  STARTED, RAISE",
    "UNAVAILABLE,         OVERLOADED,             RETRY,  STARTED, CALL_AGAIN",
    "UNAVAILABLE,         OVERLOADED,             NEVER,  STARTED, RAISE",
    "UNAVAILABLE,         OVERLOADED,             NEVER,  BEGUN,   CALL_AGAIN",
    "UNAVAILABLE,         DRAINING,               RESUME, BEGUN,   RECONNECT",
    "UNAVAILABLE,         OVERLOADED,             RETRY,  BEGUN,   CALL_AGAIN",
    "UNAVAILABLE,         OVERLOADED,             RETRY,  RESUMED, CALL_AGAIN",
    "RESOURCE_EXHAUSTED,  QUOTA_EXCEEDED,         RETRY,  STARTED, CALL_AGAIN",
    "UNAVAILABLE,         STORE_UNAVAILABLE,      RETRY,  STARTED, CALL_AGAIN",
    "UNAVAILABLE,         STORE_UNAVAILABLE,      RETRY,  BEGUN,   CALL_AGAIN",
    "UNAVAILABLE,         ENGINE_UNAVAILABLE,     RETRY,  STARTED, RETRY",
    "UNAVAILABLE,         ENGINE_UNAVAILABLE,     RETRY,  BEGUN,   RAISE",
    "UNAVAILABLE,         ENGINE_UNAVAILABLE,     RETRY,  RESUMED, RAISE",
    "DATA_LOSS,           LOG_DIVERGED,           RETRY,  RESUMED, RAISE",
    "UNAVAILABLE,         ENGINE_LOST,            RETRY,  BEGUN,   RAISE",
    "NOT_FOUND,           GENERATION_NOT_FOUND,   NEVER,  BEGUN,   LOST",
    "NOT_FOUND,           GENERATION_NOT_FOUND,   NEVER,  RESUMED, RAISE",
    "FAILED_PRECONDITION, REPLAY_EXPIRED,         NEVER,  BEGUN,   LOST",
    "UNAUTHENTICATED,     UNAUTHENTICATED,        ,       STARTED, RAISE",
    "UNAVAILABLE,         FROM_THE_FUTURE,        ,       STARTED, RECONNECT",
  })
  void aFailureHasOneStep(Status.Code code, String reason, String advice, String when, Step expected) {
    Failure failure = failure(code, reason == null ? "" : reason, advice, false);
    boolean readOnly = when.equals("RESUMED");
    assertEquals(expected, ResumePolicy.nextStep(failure, !when.equals("STARTED"), when.equals("BEGUN"), readOnly));
  }

  @Test
  void aGenerationThatHasEndedIsNotResumed() {
    Failure drained = failure(Status.Code.UNAVAILABLE, "DRAINING", "RETRY", true);
    assertEquals(Step.RAISE, ResumePolicy.nextStep(drained, true, true, true));
  }

  @Test
  void aRejectionInTheMiddleOfTheStartingCallIsNoRejectionOfTheStart() {
    Failure draining = failure(Status.Code.UNAVAILABLE, "DRAINING", "RETRY", false);
    assertEquals(Step.RAISE, ResumePolicy.nextStep(draining, false, true, false));
  }

  @Test
  void aGenerationThatEndedWithoutAnEventIsNotStartedAgain() {
    Failure lostStore = failure(Status.Code.UNAVAILABLE, "STORE_UNAVAILABLE", "RETRY", true);
    assertEquals(Step.RAISE, ResumePolicy.nextStep(lostStore, false, false, false));
  }

  @Test
  void okWithoutAnEndIsOneOnlyWhereNothingWasLeftToRead() {
    assertEquals(Step.END, ResumePolicy.nextStep(null, true, false, true));
    assertEquals(Step.RECONNECT, ResumePolicy.nextStep(null, true, true, true));
    assertEquals(Step.RECONNECT, ResumePolicy.nextStep(null, true, true, false));
    assertEquals(Step.RECONNECT, ResumePolicy.nextStep(null, false, false, false));
  }

  @Test
  void waitsGrowUpToTheirMaximumAndAreDrawnFromZero() {
    ResumePolicy policy = ResumePolicy.DEFAULT;
    assertEquals(Duration.ofMillis(50), policy.backoff(0, 1));
    assertEquals(Duration.ofMillis(200), policy.backoff(2, 1));
    assertEquals(Duration.ofSeconds(1), policy.backoff(99, 1));
    assertEquals(Duration.ZERO, policy.backoff(5, 0));
  }

  @Test
  void aStreamWithoutTimeoutHasNoTimeLeftToTell() {
    var session = new Session(Plan.read(new Cursor("g", 0), ResumeOptions.DEFAULT), ResumePolicy.DEFAULT, () -> 0, () -> 0);
    session.calling();
    assertNull(session.timeLeft());
  }

  static Failure failure(Status.Code code, String reason, String advice, boolean ended) {
    String name = "RETRY_ADVICE_" + (advice == null ? "UNSPECIFIED" : advice);
    return new Failure(code, reason, "it failed", RetryAdvice.valueOf(name), ended);
  }
}
