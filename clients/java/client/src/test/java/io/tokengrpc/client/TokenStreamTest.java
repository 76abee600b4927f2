package io.tokengrpc.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Grpc;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest;
import io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse;
import io.tokengrpc.tokenstreaming.v1.FinishReason;
import io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.Token;
import io.tokengrpc.tokenstreaming.v1.TokenStreamGrpc;
import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Flow;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Tests over a real connection to a server that sends three tokens and, unless the prompt is "endless", the end. */
@Timeout(20)
class TokenStreamTest {
  private final BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
  private final BlockingQueue<StreamObserver<CancelGenerationResponse>> unanswered = new LinkedBlockingQueue<>();
  private final ExecutorService executor = Executors.newCachedThreadPool();
  private Server server;
  private TokenStreamClient client;

  @BeforeEach
  void connect() throws IOException {
    server = Grpc.newServerBuilderForPort(0, InsecureServerCredentials.create()).addService(new ThreeTokens()).build();
    server.start();
    client = new TokenStreamClient("127.0.0.1:" + server.getPort());
  }

  @AfterEach
  void disconnect() {
    client.close();
    server.shutdownNow();
    executor.shutdownNow();
  }

  @Test
  void aStreamIsReadInALoop() {
    StringBuilder text = new StringBuilder();
    try (TokenStream stream = client.stream("three")) {
      for (Token token : stream) {
        text.append(token.getText());
      }
      assertEquals("END", stream.finishReason());
    }
    assertEquals("012", text.toString());
    assertTrue(cancelled.isEmpty());
  }

  @Test
  void interruptingTheReaderStopsTheGeneration() throws InterruptedException {
    TokenStream stream = client.stream("endless");
    BlockingQueue<TokenStreamException> thrown = new LinkedBlockingQueue<>();
    Thread reader =
        new Thread(() -> thrown.add(assertThrows(TokenStreamException.class, () -> stream.forEachRemaining(t -> {}))));
    reader.start();
    while (stream.sequence() < 3) {
      Thread.onSpinWait();
    }
    reader.interrupt();
    assertEquals("CANCELLED", thrown.take().reason());
    assertEquals(stream.generationId(), cancelled.take());
  }

  @Test
  void closingAStreamThatIsReadElsewhereTellsItsReader() throws InterruptedException {
    TokenStream stream = client.stream("endless");
    for (int count = 0; count < 3; count++) {
      stream.next();
    }
    executor.execute(stream::close);
    assertEquals("CANCELLED", assertThrows(TokenStreamException.class, stream::hasNext).reason());
    assertEquals(stream.generationId(), cancelled.take());
  }

  @Test
  void aDeadlineIsReportedAlthoughTheCancellationHasNoAnswer() throws Exception {
    var moment = Duration.ofMillis(1);
    var minute = Duration.ofMinutes(1);
    var policy = new ResumePolicy(null, 0, moment, 1, moment, moment, minute, minute);
    var timeout = StreamOptions.DEFAULT.withTimeout(Duration.ofMillis(200), StreamOptions.OnDeadline.FAIL);
    var request = StreamTokensRequest.newBuilder().setPrompt("endless").setGenerationId("silent").build();
    var other = new TokenStreamClient(TokenStreamClient.channelBuilder("127.0.0.1:" + server.getPort()).build(), "", policy);
    TokenStream stream = other.stream(request, timeout);
    var late = assertThrows(TokenStreamException.class, () -> stream.forEachRemaining(token -> {}));
    assertEquals(Status.Code.DEADLINE_EXCEEDED, late.code());
    assertEquals("silent", cancelled.take());
    // Closing the client waits for the answer.
    Future<?> closing = executor.submit(other::close);
    var answer = unanswered.take();
    answer.onNext(CancelGenerationResponse.getDefaultInstance());
    answer.onCompleted();
    closing.get();
  }

  @Test
  void aDetachedStreamEndsWithoutAnErrorAndIsNotCancelled() throws InterruptedException {
    TokenStream stream = client.stream("endless");
    StringBuilder text = new StringBuilder();
    Cursor cursor = null;
    for (Token token : stream) {
      text.append(token.getText());
      if (stream.sequence() == 2) {
        cursor = stream.detach();
      }
    }
    assertEquals("01", text.toString());
    assertEquals(stream.cursor(), cursor);
    assertEquals("", stream.finishReason());
    StringBuilder rest = new StringBuilder();
    client.resume(cursor.toString()).forEachRemaining(token -> rest.append(token.getText()));
    assertEquals("2", rest.toString());
    assertTrue(cancelled.isEmpty());
  }

  @Test
  void detachingAStreamThatIsReadElsewhereEndsItsLoop() throws Exception {
    TokenStream stream = client.stream("endless");
    stream.next();
    Future<Integer> reader =
        executor.submit(
            () -> {
              int count = 1;
              for (Token token : stream) {
                count += token.getCount();
              }
              return count;
            });
    while (stream.sequence() < 3) {
      Thread.onSpinWait();
    }
    assertEquals(3, stream.detach().sequence());
    assertEquals(3, reader.get());
    assertTrue(cancelled.isEmpty());
  }

  @Test
  void leavingAnotherReadersGenerationCancelsItOnlyIfAsked() throws InterruptedException {
    Cursor cursor = new Cursor("endless", 0);
    for (boolean cancelOnClose : new boolean[] {false, true}) {
      try (TokenStream stream = client.resume(cursor, ResumeOptions.DEFAULT.withCancelOnClose(cancelOnClose))) {
        stream.next();
      }
    }
    assertEquals("endless", cancelled.take());
    assertTrue(cancelled.isEmpty());
  }

  @Test
  void aClosedClientSaysSo() {
    TokenStream stream = client.stream("three");
    client.close();
    var error = assertThrows(TokenStreamException.class, stream::next);
    assertEquals(Status.Code.FAILED_PRECONDITION, error.code());
    assertEquals("CLIENT_CLOSED", error.reason());
    assertEquals("CLIENT_CLOSED", assertThrows(TokenStreamException.class, () -> client.get("g")).reason());
  }

  @Test
  void aDetachedPublisherCompletes() throws InterruptedException {
    TokenStream stream = client.stream("endless");
    Seen seen = subscribe(new TokenPublisher(stream, executor));
    seen.subscription.request(Long.MAX_VALUE);
    for (int count = 0; count < 3; count++) {
      seen.next();
    }
    assertEquals(3, stream.detach().sequence());
    assertEquals("complete", seen.next());
    assertTrue(cancelled.isEmpty());
  }

  @Test
  void whatAPublisherHadReadAheadIsDeliveredAfterDetaching() throws InterruptedException {
    TokenStream stream = client.stream("endless");
    Seen seen = subscribe(new TokenPublisher(stream, executor));
    seen.subscription.request(1);
    seen.next();
    Cursor cursor = stream.detach();
    seen.subscription.request(Long.MAX_VALUE);
    int count = 1;
    while (!seen.next().equals("complete")) {
      count++;
    }
    assertEquals(cursor.sequence(), count);
  }

  @Test
  void tokensComeAsTheyAreAskedForAndThenTheEnd() throws InterruptedException {
    Seen seen = subscribe(new TokenPublisher(client.stream("three"), executor));
    seen.subscription.request(1);
    assertEquals("0", seen.next());
    seen.subscription.request(2);
    assertEquals("1", seen.next());
    assertEquals("2", seen.next());
    assertEquals("complete", seen.next());
  }

  @Test
  void cancellingStopsTheGeneration() throws InterruptedException {
    TokenStream stream = client.stream("endless");
    Seen seen = subscribe(new TokenPublisher(stream, executor));
    seen.subscription.request(Long.MAX_VALUE);
    assertEquals("0", seen.next());
    seen.subscription.cancel();
    assertEquals(stream.generationId(), cancelled.take());
  }

  @Test
  void aSecondSubscriberIsRefused() throws InterruptedException {
    TokenPublisher publisher = new TokenPublisher(client.stream("three"), executor);
    subscribe(publisher);
    assertInstanceOf(IllegalStateException.class, subscribe(publisher).next());
  }

  @Test
  void askingForNothingIsAnError() throws InterruptedException {
    Seen seen = subscribe(new TokenPublisher(client.stream("three"), executor));
    seen.subscription.request(0);
    assertInstanceOf(IllegalArgumentException.class, seen.next());
  }

  private static Seen subscribe(TokenPublisher publisher) {
    Seen seen = new Seen();
    publisher.subscribe(seen);
    return seen;
  }

  private static final class Seen implements Flow.Subscriber<Token> {
    private final BlockingQueue<Object> signals = new LinkedBlockingQueue<>();
    private Flow.Subscription subscription;

    Object next() throws InterruptedException {
      return signals.take();
    }

    @Override
    public void onSubscribe(Flow.Subscription given) {
      subscription = given;
    }

    @Override
    public void onNext(Token token) {
      signals.add(token.getText());
    }

    @Override
    public void onError(Throwable failure) {
      signals.add(failure);
    }

    @Override
    public void onComplete() {
      signals.add("complete");
    }
  }

  private final class ThreeTokens extends TokenStreamGrpc.TokenStreamImplBase {
    @Override
    public void streamTokens(StreamTokensRequest request, StreamObserver<StreamTokensResponse> answer) {
      send(0, request.getPrompt().equals("endless"), answer);
    }

    @Override
    public void resumeTokens(ResumeTokensRequest request, StreamObserver<StreamTokensResponse> answer) {
      send(request.getAfterSequence(), request.getGenerationId().equals("endless"), answer);
    }

    private static void send(int after, boolean endless, StreamObserver<StreamTokensResponse> answer) {
      for (int index = after; index < 3; index++) {
        var token = Token.newBuilder().setIndex(index).setCount(1).setText(String.valueOf(index));
        answer.onNext(StreamTokensResponse.newBuilder().setSequence(index + 1).addTokens(token).build());
      }
      if (!endless) {
        var end = StreamTokensResponse.newBuilder().setSequence(4);
        end.getFinishedBuilder().setFinishReason(FinishReason.FINISH_REASON_END);
        answer.onNext(end.build());
        answer.onCompleted();
      }
    }

    @Override
    public void cancelGeneration(CancelGenerationRequest request, StreamObserver<CancelGenerationResponse> answer) {
      cancelled.add(request.getGenerationId());
      if (request.getGenerationId().equals("silent")) {
        unanswered.add(answer);
        return;
      }
      answer.onNext(CancelGenerationResponse.getDefaultInstance());
      answer.onCompleted();
    }
  }
}
