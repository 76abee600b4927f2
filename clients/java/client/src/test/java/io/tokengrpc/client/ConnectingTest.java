package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.ConnectivityState;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.tokengrpc.client.StreamOptions.OnDeadline;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.time.Duration;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Tests with a frozen server: the kernel accepts its connections, but it never answers. */
@Timeout(20)
class ConnectingTest {
  private ServerSocket frozen;
  private ManagedChannel channel;

  @BeforeEach
  void listen() throws IOException {
    frozen = new ServerSocket(0, 10, InetAddress.getLoopbackAddress());
    channel = TokenStreamClient.channelBuilder("127.0.0.1:" + frozen.getLocalPort()).build();
  }

  @AfterEach
  void stop() throws IOException {
    channel.shutdownNow();
    frozen.close();
  }

  @Test
  void callsShareAnAttempt() {
    var connecting = new Connecting(channel, Duration.ofDays(1));
    assertSame(connecting.attempt(), connecting.attempt());
  }

  @Test
  void anAttemptEndsAfterItsTime() throws Exception {
    var connecting = new Connecting(channel, Duration.ofMillis(100));
    assertFalse(connecting.attempt().get());
    assertFalse(connecting.attempt().get(), "the next attempt is another one");
  }

  @Test
  void aServerThatRefusesConnectionsIsKnownAtOnce() throws Exception {
    frozen.close();
    assertTrue(new Connecting(channel, Duration.ofDays(1)).attempt().get());
    assertEquals(ConnectivityState.TRANSIENT_FAILURE, channel.getState(false));
  }

  @Test
  void aStreamGivesUpWhenItsPatienceEnds() {
    try (var client = new TokenStreamClient(channel, null, quick(Duration.ofMillis(50)))) {
      var error = assertThrows(TokenStreamException.class, client.stream("hello")::hasNext);
      assertEquals(Status.Code.UNAVAILABLE, error.code());
      assertEquals("no connection to the server within the time for connecting", error.failure().message());
    }
  }

  @Test
  void aDeadlineEndsTheWait() {
    try (var client = new TokenStreamClient(channel, "", quick(Duration.ofDays(1)))) {
      var options = StreamOptions.DEFAULT.withTimeout(Duration.ofMillis(100), OnDeadline.FAIL);
      var stream = client.stream(StreamTokensRequest.getDefaultInstance(), options);
      assertEquals(Status.Code.DEADLINE_EXCEEDED, assertThrows(TokenStreamException.class, stream::hasNext).code());
    }
  }

  private static ResumePolicy quick(Duration connectTimeout) {
    Duration moment = Duration.ofMillis(1);
    return new ResumePolicy(
        Duration.ofMillis(200), 2, moment, 1, moment, Duration.ZERO, Duration.ofMillis(100), connectTimeout);
  }
}
