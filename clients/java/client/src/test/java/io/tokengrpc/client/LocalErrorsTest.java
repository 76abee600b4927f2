package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.grpc.Status;
import io.tokengrpc.tokenstreaming.v1.RetryAdvice;
import org.junit.jupiter.api.Test;

class LocalErrorsTest {
  @Test
  void aConnectionThatCannotBeResumedSaysWhatToDo() {
    Failure lost = LocalErrors.connectionLost(cause("it went away"), true);
    assertEquals("the connection broke and could not be resumed (it went away); resume with the cursor", lost.message());
    assertEquals(RetryAdvice.RETRY_ADVICE_RESUME, lost.advice());
    lost = LocalErrors.connectionLost(cause("it went away"), false);
    assertEquals("the connection broke (it went away); start again under a new id", lost.message());
    assertEquals(RetryAdvice.RETRY_ADVICE_RETRY, lost.advice());
  }

  @Test
  void theAdviceOfTheCauseIsReplaced() {
    Failure lost = LocalErrors.generationLost(cause("no generation g; it may be gone; check the id"));
    assertEquals(
        "the connection broke and the server no longer has the remaining events (no generation g; it may be gone);"
            + " start again under a new id",
        lost.message());
  }

  @Test
  void anUnansweredPingIsAFrozenServer() {
    var error = Status.UNAVAILABLE.withDescription("Keepalive failed. The connection is likely gone").asException();
    assertEquals("the server did not answer a keepalive ping for 5 s", Failure.of(error).message());
  }

  @Test
  void aMessageIsShownOnceWithItsReason() {
    var error = new TokenStreamException(LocalErrors.clientClosed());
    assertEquals("CLIENT_CLOSED: this client has been closed; create another one", error.getMessage());
    error = new TokenStreamException(cause("connection refused"));
    assertEquals(
        "UNAVAILABLE: connection refused; check that the server is running at this address", error.getMessage());
  }

  private static Failure cause(String message) {
    return new Failure(Status.Code.UNAVAILABLE, "", message, RetryAdvice.RETRY_ADVICE_UNSPECIFIED, false);
  }
}
