package tokengrpc

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/resolver"
)

// addressList resolves targets such as ipv4:10.0.0.1:50051,10.0.0.2:50051, the addresses of replicas. gRPC in C, and all
// that is built on it, knows them as well.
type addressList string

// Scheme is part of resolver.Builder.
func (s addressList) Scheme() string { return string(s) }

// Build is part of resolver.Builder.
func (s addressList) Build(target resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	var state resolver.State
	for address := range strings.SplitSeq(target.Endpoint(), ",") {
		if address == "" {
			return nil, fmt.Errorf("target %s: an address is empty: pass %s:ADDRESS:PORT,ADDRESS:PORT", target.URL.String(), s)
		}
		state.Addresses = append(state.Addresses, resolver.Address{Addr: address})
	}
	return fixed{}, conn.UpdateState(state)
}

// fixed has nothing to resolve again.
type fixed struct{}

func (fixed) ResolveNow(resolver.ResolveNowOptions) {}
func (fixed) Close()                                {}
