package io.tokengrpc.client;

import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusException;
import io.grpc.stub.BlockingClientCall;
import io.grpc.stub.MetadataUtils;
import io.tokengrpc.tokenstreaming.v1.CancelGenerationRequest;
import io.tokengrpc.tokenstreaming.v1.Generation;
import io.tokengrpc.tokenstreaming.v1.GetGenerationRequest;
import io.tokengrpc.tokenstreaming.v1.ResumeTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import io.tokengrpc.tokenstreaming.v1.StreamTokensResponse;
import io.tokengrpc.tokenstreaming.v1.TokenStreamGrpc;
import io.tokengrpc.tokenstreaming.v1.TokenStreamGrpc.TokenStreamBlockingV2Stub;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

/**
 * Streams tokens from one server, or from the replicas behind one name. May be shared by threads.
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
  /** For calls that run no generation. */
  private static final Duration CONTROL_TIMEOUT = Duration.ofSeconds(30);

  private static final int MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

  private final ManagedChannel channel;
  private final TokenStreamBlockingV2Stub stub;
  private final ResumePolicy policy;
  private final Set<TokenStream> open = ConcurrentHashMap.newKeySet();

  /** Connects to {@code host:port} in plaintext, in the background: what fails is told by the calls. */
  public TokenStreamClient(String target) {
    this(channelBuilder(target).build(), "", ResumePolicy.DEFAULT);
  }

  /**
   * Over a channel of the caller's: see {@link #withDefaults}. The client closes it.
   *
   * @param token sent as {@code authorization: Bearer …}; empty for none
   */
  public TokenStreamClient(ManagedChannel channel, String token, ResumePolicy policy) {
    this.channel = channel;
    this.policy = policy;
    Metadata headers = new Metadata();
    if (!token.isEmpty()) {
      headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + token);
    }
    stub =
        TokenStreamGrpc.newBlockingV2Stub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
    // Connects now, so that the timeout of the first stream is not spent on it.
    channel.getState(true);
  }

  /** A plaintext channel to {@code host:port} with the client's defaults. */
  public static ManagedChannelBuilder<?> channelBuilder(String target) {
    return withDefaults(Grpc.newChannelBuilder(target, InsecureChannelCredentials.create()));
  }

  /** Puts the client's defaults on a channel; what is set on the builder afterwards wins. */
  public static ManagedChannelBuilder<?> withDefaults(ManagedChannelBuilder<?> builder) {
    // A link that was cut without a word is noticed after 30 s while a call is open.
    return builder
        .keepAliveTime(20, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .maxInboundMessageSize(MAX_MESSAGE_BYTES)
        // Its retries cover the unary methods alone: of streams the ResumePolicy decides, and two policies on top of each
        // other would multiply their attempts.
        .enableRetry()
        .defaultServiceConfig(serviceConfig());
  }

  /** Starts a generation of a prompt, when reading begins. */
  public TokenStream stream(String prompt) {
    return stream(StreamTokensRequest.newBuilder().setPrompt(prompt).build(), StreamOptions.DEFAULT);
  }

  /** Starts a generation, when reading begins. An empty {@code generation_id} becomes a random one. */
  public TokenStream stream(StreamTokensRequest request, StreamOptions options) {
    return new TokenStream(this, Plan.start(request, options));
  }

  /** Reads a generation that another call started, from the event after {@code after} on; leaving it stops nothing. */
  public TokenStream resume(String generationId, int after) {
    return resume(generationId, after, null);
  }

  /** The same, for at most {@code timeout}. */
  public TokenStream resume(String generationId, int after, Duration timeout) {
    return new TokenStream(this, Plan.read(generationId, after, timeout));
  }

  /** What is known of a generation: state, usage, kept events, outcome. */
  public Generation get(String generationId) {
    try {
      var request = GetGenerationRequest.newBuilder().setGenerationId(generationId).build();
      return within(CONTROL_TIMEOUT).getGeneration(request).getGeneration();
    } catch (StatusException error) {
      throw new TokenStreamException(Failure.of(error), "");
    }
  }

  /** Stops a generation for all its readers and answers it as it ended; again changes nothing. */
  public Generation cancel(String generationId) {
    try {
      return cancel(generationId, CONTROL_TIMEOUT);
    } catch (StatusException error) {
      throw new TokenStreamException(Failure.of(error), "");
    }
  }

  /** Everything else of the contract, over the same channel and with the same token. */
  public TokenStreamBlockingV2Stub stub() {
    return stub;
  }

  /** Ends the streams that are still open, as if their readers stopped, and the connection. */
  @Override
  public void close() {
    open.forEach(TokenStream::close);
    channel.shutdownNow();
  }

  ResumePolicy policy() {
    return policy;
  }

  BlockingClientCall<?, StreamTokensResponse> start(StreamTokensRequest request, Duration timeout) {
    return within(timeout).streamTokens(request);
  }

  BlockingClientCall<?, StreamTokensResponse> read(String generationId, int after, Duration timeout) {
    var request = ResumeTokensRequest.newBuilder().setGenerationId(generationId).setAfterSequence(after);
    return within(timeout).resumeTokens(request.build());
  }

  /**
   * Lets the next call connect. Calls fail at once while a channel waits to connect again: a second and more, in which the
   * policy would use up its attempts. An idle channel does not wait.
   */
  void connectAnew() {
    if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
      channel.enterIdle();
    }
  }

  /** Cancels a generation whose reader stopped. Never fails: it is gone, or it ends by itself after its {@code detach_ttl}. */
  void leave(String generationId) {
    // An interrupted thread could not wait for the answer.
    boolean interrupted = Thread.interrupted();
    try {
      cancel(generationId, policy.cancelTimeout());
    } catch (StatusException gone) {
      // As said.
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** A stream that is open is closed with the client. */
  void opened(TokenStream stream) {
    open.add(stream);
  }

  void closed(TokenStream stream) {
    open.remove(stream);
  }

  private Generation cancel(String generationId, Duration timeout) throws StatusException {
    var request = CancelGenerationRequest.newBuilder().setGenerationId(generationId).build();
    return within(timeout).cancelGeneration(request).getGeneration();
  }

  private TokenStreamBlockingV2Stub within(Duration timeout) {
    return timeout == null ? stub : stub.withDeadlineAfter(timeout);
  }

  private static Map<String, ?> serviceConfig() {
    try (Reader json =
        new InputStreamReader(
            TokenStreamClient.class.getResourceAsStream("service_config.json"), StandardCharsets.UTF_8)) {
      return new Gson().fromJson(json, new TypeToken<Map<String, ?>>() {});
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }
}
