package io.tokengrpc.client;

import com.google.gson.reflect.TypeToken;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.NameResolverRegistry;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import io.grpc.stub.StreamObserver;
import io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest;
import io.tokengrpc.tokenstreaming.v1.CancelGenerationResponse;
import io.tokengrpc.tokenstreaming.v1.Generation;
import io.tokengrpc.tokenstreaming.v1.GetGenerationRequest;
import io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.TokenStreamGrpc;
import io.tokengrpc.tokenstreaming.v1.TokenStreamGrpc.TokenStreamBlockingV2Stub;
import io.tokengrpc.tokenstreaming.v1.TokenStreamGrpc.TokenStreamStub;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * A client that streams tokens from one server, or from the replicas behind one name. Thread-safe.
 *
 * <pre>{@code
 * try (var client = new TokenStreamClient("127.0.0.1:50051");
 *     var stream = client.stream("What is token streaming?")) {
 *   for (Token token : stream) {
 *     System.out.print(token.getText());
 *   }
 * }
 * }</pre>
 */
public final class TokenStreamClient implements AutoCloseable {
  /** Timeout of calls that do not start a generation. */
  private static final Duration CONTROL_TIMEOUT = Duration.ofSeconds(30);

  private static final int MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

  static {
    NameResolverRegistry.getDefaultRegistry().register(new AddressListProvider());
  }

  private final ManagedChannel channel;
  private final TokenStreamBlockingV2Stub stub;
  private final TokenStreamStub asyncStub;
  private final ResumePolicy policy;
  private final Connecting connecting;
  private final Set<TokenStream> open = ConcurrentHashMap.newKeySet();
  private final Set<CompletableFuture<Void>> leaving = ConcurrentHashMap.newKeySet();
  private volatile boolean closed;

  /** Connects to {@code host:port} in plaintext, in the background: calls report connection failures. */
  public TokenStreamClient(String target) {
    this(channelBuilder(target).build(), "", ResumePolicy.DEFAULT);
  }

  /**
   * Uses the caller's channel: see {@link #withDefaults}. {@link #close} also closes the channel.
   *
   * @param token bearer token, sent as {@code authorization: Bearer …}; null or empty for none
   */
  public TokenStreamClient(ManagedChannel channel, String token, ResumePolicy policy) {
    this(policy, channel, () -> token);
  }

  private TokenStreamClient(ResumePolicy policy, ManagedChannel channel, Supplier<String> token) {
    this.channel = channel;
    this.policy = policy;
    connecting = new Connecting(channel, policy.connectTimeout());
    var authorization = new Authorization(token);
    stub = TokenStreamGrpc.newBlockingV2Stub(channel).withInterceptors(authorization);
    asyncStub = TokenStreamGrpc.newStub(channel).withInterceptors(authorization);
    // Connects now, so that connecting does not use up the timeout of the first stream.
    channel.getState(true);
  }

  /**
   * Returns a client whose token may change, as those that expire do. Otherwise like the constructor.
   *
   * @param token returns the token of each call, also when a stream resumes; it must not block for long
   */
  public static TokenStreamClient withTokens(ManagedChannel channel, Supplier<String> token, ResumePolicy policy) {
    return new TokenStreamClient(policy, channel, token);
  }

  /**
   * Returns the builder of a plaintext channel to {@code host:port} with the client's defaults. Of replicas that share an
   * event store, the target may be a name with several addresses, or {@code ipv4:ADDRESS:PORT,ADDRESS:PORT}.
   */
  public static ManagedChannelBuilder<?> channelBuilder(String target) {
    return withDefaults(Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()));
  }

  /** Applies the client's defaults to a channel builder; later settings on the builder override them. */
  public static ManagedChannelBuilder<?> withDefaults(ManagedChannelBuilder<?> builder) {
    // While a call is open, a frozen server or a silently broken connection is noticed after 15 s.
    return builder
        .keepAliveTime(10, TimeUnit.SECONDS)
        .keepAliveTimeout(5, TimeUnit.SECONDS)
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        // The service config retries only unary methods. ResumePolicy retries streams, and two policies on top of each
        // other would multiply the attempts.
        .enableRetry()
        .defaultServiceConfig(SharedFiles.read("service_config.json", new TypeToken<Map<String, Object>>() {}));
  }

  /** Returns a stream that starts a generation for a prompt when reading begins. */
  public TokenStream stream(String prompt) {
    return stream(StreamTokensRequest.newBuilder().setPrompt(prompt).build(), StreamOptions.DEFAULT);
  }

  /** Returns a stream that starts a generation when reading begins. An empty {@code generation_id} becomes random. */
  public TokenStream stream(StreamTokensRequest request, StreamOptions options) {
    return new TokenStream(this, Plan.start(request, options));
  }

  /** Returns a stream that goes on where another reader left a generation. Closing it does not stop the generation. */
  public TokenStream resume(Cursor cursor) {
    return resume(cursor, ResumeOptions.DEFAULT);
  }

  /** Like {@link #resume(Cursor)}, with a timeout, or for a reader whose leaving stops the generation. */
  public TokenStream resume(Cursor cursor, ResumeOptions options) {
    return new TokenStream(this, Plan.read(cursor, options));
  }

  /**
   * Like {@link #resume(Cursor)}, from the text of a cursor.
   *
   * @throws TokenStreamException with the reason {@code INVALID_CURSOR} if it is none
   */
  public TokenStream resume(String cursor) {
    return resume(Cursor.parse(cursor));
  }

  /** Returns a generation's state, usage, retained events and outcome. */
  public Generation get(String generationId) {
    checkOpen();
    try {
      var request = GetGenerationRequest.newBuilder().setGenerationId(generationId).build();
      return within(CONTROL_TIMEOUT).getGeneration(request).getGeneration();
    } catch (StatusException error) {
      throw new TokenStreamException(Failure.of(error));
    }
  }

  /** Stops a generation for all its readers and returns its final state. Repeated calls have no effect. */
  public Generation cancel(String generationId) {
    checkOpen();
    try {
      return cancel(generationId, CONTROL_TIMEOUT);
    } catch (StatusException error) {
      throw new TokenStreamException(Failure.of(error));
    }
  }

  /** Returns the generated stub for all other methods, with the same channel and bearer token. */
  public TokenStreamBlockingV2Stub stub() {
    return stub;
  }

  /** Closes all open streams, as their readers would, waits until their generations are cancelled, then closes the channel. */
  @Override
  public void close() {
    closed = true;
    open.forEach(TokenStream::close);
    leaving.forEach(CompletableFuture::join);
    channel.shutdownNow();
  }

  ResumePolicy policy() {
    return policy;
  }

  BlockingClientCall<?, StreamTokensResponse> start(StreamTokensRequest request, Duration timeout) {
    return within(timeout).streamTokens(request);
  }

  BlockingClientCall<?, StreamTokensResponse> read(Cursor cursor, Duration timeout) {
    var request =
        ResumeTokensRequest.newBuilder()
            .setGenerationId(cursor.generationId())
            .setAfterSequence(cursor.sequence())
            .setLogIncarnation(cursor.logIncarnation());
    cursor.checksum().ifPresent(request::setOutputChecksum);
    return within(timeout).resumeTokens(request.build());
  }

  /**
   * Makes the next call connect at once. While a channel waits to reconnect, for up to two minutes, calls fail immediately. An
   * idle channel does not wait.
   */
  void connectAnew() {
    if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
      channel.enterIdle();
    }
  }

  /** Returns the attempt to connect; false if it took too long. */
  CompletableFuture<Boolean> connecting() {
    return connecting.attempt();
  }

  /**
   * Begins to cancel a generation after its stream was closed. The result completes when the call has ended, also after a
   * failure: the generation ends after its {@code detach_ttl} anyway.
   */
  CompletableFuture<Void> leave(String generationId) {
    var left = new CompletableFuture<Void>();
    leaving.add(left);
    left.thenRun(() -> leaving.remove(left));
    asyncStub
        .withDeadlineAfter(policy.cancelTimeout())
        .cancelGeneration(
            cancelRequest(generationId),
            new StreamObserver<>() {
              @Override
              public void onNext(CancelGenerationResponse response) {}

              @Override
              public void onError(Throwable gone) {
                left.complete(null);
              }

              @Override
              public void onCompleted() {
                left.complete(null);
              }
            });
    return left;
  }

  /** Registers an open stream, so that closing the client closes it too. Returns false if the client has been closed. */
  boolean opened(TokenStream stream) {
    open.add(stream);
    return !closed;
  }

  void closed(TokenStream stream) {
    open.remove(stream);
  }

  private void checkOpen() {
    if (closed) {
      throw new TokenStreamException(LocalErrors.clientClosed());
    }
  }

  private Generation cancel(String generationId, Duration timeout) throws StatusException {
    return within(timeout).cancelGeneration(cancelRequest(generationId)).getGeneration();
  }

  private static CancelGenerationRequest cancelRequest(String generationId) {
    return CancelGenerationRequest.newBuilder().setGenerationId(generationId).build();
  }

  private TokenStreamBlockingV2Stub within(Duration timeout) {
    return timeout == null ? stub : stub.withDeadlineAfter(timeout);
  }
}
