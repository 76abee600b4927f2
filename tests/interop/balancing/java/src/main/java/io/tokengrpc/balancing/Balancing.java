package io.tokengrpc.balancing;

import com.google.gson.Gson;
import com.google.gson.reflect.TypeToken;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.EquivalentAddressGroup;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.NameResolverRegistry;
import io.grpc.StatusOr;
import io.tokengrpc.tokenstreaming.v1.StreamTokensRequest;
import io.tokengrpc.tokenstreaming.v1.TokenStreamGrpc;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;

/**
 * Streams from several servers with one channel, which chooses a server for each call, and prints a line with the server's address
 * per call: {@code Balancing SERVICE-CONFIG SECONDS CALLERS ADDRESS...}
 */
public final class Balancing {
  public static void main(String[] args) throws InterruptedException {
    Map<String, Object> config = new Gson().fromJson(args[0], new TypeToken<>() {});
    NameResolverRegistry.getDefaultRegistry().register(new Servers(Arrays.asList(args).subList(3, args.length)));
    var channel =
        Grpc.newChannelBuilder("servers:///", InsecureChannelCredentials.create())
            .overrideAuthority("localhost")
            .defaultServiceConfig(config)
            .build();
    for (int caller = 0; caller < Integer.parseInt(args[2]); caller++) {
      var thread = new Thread(() -> callForever(channel));
      thread.setDaemon(true);
      thread.start();
    }
    TimeUnit.SECONDS.sleep(Integer.parseInt(args[1]));
  }

  private static void callForever(Channel channel) {
    var request = StreamTokensRequest.newBuilder().setPrompt("hello").setMaxOutputTokenCount(20).build();
    var stub = TokenStreamGrpc.newBlockingV2Stub(channel).withInterceptors(new Printer());
    try {
      while (true) {
        var call = stub.streamTokens(request);
        while (call.read() != null) {}
      }
    } catch (Exception error) {
      error.printStackTrace();
      System.exit(1);
    }
  }

  /** Prints a call's server when the call has begun. */
  private static final class Printer implements ClientInterceptor {
    @Override
    public <Q, S> ClientCall<Q, S> interceptCall(MethodDescriptor<Q, S> method, CallOptions options, Channel next) {
      return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
        @Override
        public void start(Listener<S> listener, Metadata headers) {
          super.start(
              new SimpleForwardingClientCallListener<>(listener) {
                @Override
                public void onHeaders(Metadata headers) {
                  var server = (InetSocketAddress) getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR);
                  System.out.println("begun " + server.getHostString() + ":" + server.getPort());
                  super.onHeaders(headers);
                }
              },
              headers);
        }
      };
    }
  }

  /** Resolves any name to the servers. */
  private static final class Servers extends NameResolverProvider {
    private final List<EquivalentAddressGroup> servers;

    Servers(List<String> addresses) {
      servers = addresses.stream().map(Servers::parse).toList();
    }

    private static EquivalentAddressGroup parse(String address) {
      String[] parts = address.split(":");
      return new EquivalentAddressGroup(new InetSocketAddress(parts[0], Integer.parseInt(parts[1])));
    }

    @Override
    public NameResolver newNameResolver(URI target, NameResolver.Args args) {
      return new NameResolver() {
        @Override
        public String getServiceAuthority() {
          return "localhost";
        }

        @Override
        public void start(Listener2 listener) {
          listener.onResult(ResolutionResult.newBuilder().setAddressesOrError(StatusOr.fromValue(servers)).build());
        }

        @Override
        public void shutdown() {}
      };
    }

    @Override
    public String getDefaultScheme() {
      return "servers";
    }

    @Override
    public Collection<Class<? extends SocketAddress>> getProducedSocketAddressTypes() {
      return Set.of(InetSocketAddress.class);
    }

    @Override
    protected boolean isAvailable() {
      return true;
    }

    @Override
    protected int priority() {
      return 5;
    }
  }
}
