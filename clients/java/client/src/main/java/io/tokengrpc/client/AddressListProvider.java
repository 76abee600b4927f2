package io.tokengrpc.client;

import io.grpc.EquivalentAddressGroup;
import io.grpc.NameResolver;
import io.grpc.NameResolverProvider;
import io.grpc.StatusOr;
import java.net.InetSocketAddress;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;

/**
 * Resolves targets such as {@code ipv4:10.0.0.1:50051,10.0.0.2:50051}, the addresses of replicas. gRPC in C, and all that
 * is built on it, knows them as well.
 */
final class AddressListProvider extends NameResolverProvider {
  private static final String SCHEME = "ipv4";

  @Override
  protected boolean isAvailable() {
    return true;
  }

  @Override
  protected int priority() {
    return 4; // below DNS, which is for targets without a scheme
  }

  @Override
  public String getDefaultScheme() {
    return SCHEME;
  }

  @Override
  public NameResolver newNameResolver(URI target, NameResolver.Args args) {
    return SCHEME.equals(target.getScheme()) ? new AddressList(target.getSchemeSpecificPart()) : null;
  }

  /** The addresses of one target, which never change. */
  private static final class AddressList extends NameResolver {
    private final String authority;
    private final List<EquivalentAddressGroup> groups = new ArrayList<>();

    AddressList(String text) {
      var addresses = text.split(",", -1);
      authority = addresses[0];
      for (var address : addresses) {
        var colon = address.lastIndexOf(':');
        if (colon <= 0 || !address.substring(colon + 1).matches("[0-9]{1,5}")) {
          throw new IllegalArgumentException(
              "target ipv4:" + text + ": " + address + " is not ADDRESS:PORT, such as 10.0.0.1:50051");
        }
        var port = Integer.parseInt(address.substring(colon + 1));
        groups.add(new EquivalentAddressGroup(new InetSocketAddress(address.substring(0, colon), port)));
      }
    }

    @Override
    public String getServiceAuthority() {
      return authority;
    }

    @Override
    public void start(Listener2 listener) {
      listener.onResult(ResolutionResult.newBuilder().setAddressesOrError(StatusOr.fromValue(groups)).build());
    }

    @Override
    public void shutdown() {}
  }
}
