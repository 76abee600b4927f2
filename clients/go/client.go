// Package tokengrpc streams the tokens of language models from a tokengrpc server.
//
// [New] creates a [Client], and [Client.Stream] a [Stream], whose iterators yield each token exactly once: after a dropped
// connection, the stream resumes where it was, and a checksum proves that it goes on with the same output. Leaving the loop
// stops the generation. [Stream.Detach] leaves it to another reader instead, which continues with [Client.Resume], in this
// process or any other, in any language with a client.
//
// All clients follow docs/client-policy.md of the project.
package tokengrpc

import (
	"context"
	_ "embed"
	"maps"
	"slices"
	"sync"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A copy of clients/service_config.json: go:embed cannot reach outside the module. A test compares the two.
//
//go:embed service_config.json
var serviceConfig string

// Client is a client of one server, or of the replicas behind one name. It is safe for concurrent use.
type Client struct {
	// RPC is the generated stub, for methods that need no resuming: CountTokens, ListModels, GenerateText. It returns
	// gRPC's own errors.
	RPC pb.TokenStreamClient

	// Policy limits the attempts and delays of streams. Change it before the first stream.
	Policy Policy

	conn    *grpc.ClientConn
	cancels sync.WaitGroup // calls of CancelGeneration in progress
	mu      sync.Mutex
	closed  bool
	streams map[*Stream]struct{} // those being read
}

// New creates a client, which connects with the first call. The target may be a name with several addresses, or
// ipv4:ADDRESS:PORT,ADDRESS:PORT, of replicas that share an event store: calls go to all of them by turns. It uses plaintext
// unless an option sets transport credentials. Options override the client's defaults.
func New(target string, options ...grpc.DialOption) (*Client, error) {
	defaults := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithResolvers(addressList("ipv4"), addressList("ipv6")),
		// While a call is open, a frozen server and a silently broken connection are detected after 15 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		// While the channel waits to reconnect, calls fail immediately. The default wait, a second growing to two minutes,
		// would delay streams that resume.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: 5 * time.Second,
		}),
		// Many tokens with many logprobs can exceed gRPC's default limit of 4 MiB.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16 << 20)),
	}
	conn, err := grpc.NewClient(target, append(defaults, options...)...)
	if err != nil {
		return nil, err
	}
	return &Client{RPC: pb.NewTokenStreamClient(conn), Policy: DefaultPolicy, conn: conn, streams: map[*Stream]struct{}{}}, nil
}

// BearerToken returns an option that sends `authorization: Bearer …` with every call.
func BearerToken(token string) grpc.DialOption {
	return grpc.WithPerRPCCredentials(bearer(token))
}

// TokenSource returns an option that sends `authorization: Bearer …` with the token that source returns for each call, also
// when a stream resumes: for tokens that expire. If it returns an error, the call fails with UNAUTHENTICATED.
func TokenSource(source func(context.Context) (string, error)) grpc.DialOption {
	return grpc.WithPerRPCCredentials(tokenSource(source))
}

// Close ends all streams, as leaving their loops does: their readers get an error with the reason CLIENT_CLOSED. It waits
// until their generations and those of streams left before are cancelled (at most Policy.CancelTimeout), then closes the
// connection.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	reading := slices.Collect(maps.Keys(c.streams))
	c.mu.Unlock()
	for _, stream := range reading {
		stream.abandon()
	}
	c.cancels.Wait()
	return c.conn.Close()
}

// Stream returns a stream that starts a generation when reading begins. The request controls it, and is not changed:
//
//   - An empty generation_id gets a random one.
//   - An unset recovery.disconnect_action becomes DETACH: the generation survives dropped connections. With CANCEL, it
//     stops with the connection.
//   - The deadline of ctx also applies to the generation: the server ends it shortly before, keeping its output so far.
//     The stream then fails with DEADLINE_EXCEEDED, or ends normally if limits.deadline_action is FINISH_PARTIAL.
//
// Cancelling ctx stops the generation, as leaving the loop does.
func (c *Client) Stream(ctx context.Context, request *pb.StreamTokensRequest) *Stream {
	return newStream(ctx, c, proto.CloneOf(request))
}

// Resume reads a generation that another call started, after the cursor of another stream (see ParseCursor), or from the
// start with Cursor{GenerationID: id}. It never starts a generation, and leaving the loop does not stop it. If the cursor
// is not valid, reading fails with the reason INVALID_CURSOR, before any call.
func (c *Client) Resume(ctx context.Context, cursor Cursor, options ...ResumeOption) *Stream {
	var chosen resumeOptions
	for _, option := range options {
		option(&chosen)
	}
	return resumeStream(ctx, c, cursor, chosen)
}

// Get returns a generation's state, usage, retained events and outcome. Its errors are *Error.
func (c *Client) Get(ctx context.Context, generationID string) (*pb.Generation, error) {
	response, err := c.RPC.GetGeneration(ctx, &pb.GetGenerationRequest{GenerationId: generationID})
	if err != nil {
		return nil, c.failed(err)
	}
	return response.GetGeneration(), nil
}

// Cancel stops a generation for all its readers and returns its final state. Repeated calls have no effect. Its errors
// are *Error.
func (c *Client) Cancel(ctx context.Context, generationID string) (*pb.Generation, error) {
	response, err := c.RPC.CancelGeneration(ctx, &pb.CancelGenerationRequest{GenerationId: generationID})
	if err != nil {
		return nil, c.failed(err)
	}
	return response.GetGeneration(), nil
}

// failed returns the error of a unary call.
func (c *Client) failed(err error) *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return clientClosed()
	}
	return decode(err)
}

// enter registers a stream that is being read, unless the client has been closed.
func (c *Client) enter(stream *Stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.streams[stream] = struct{}{}
	}
	return !c.closed
}

func (c *Client) exit(stream *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, stream)
}

// cancelling returns a function that cancels a stream's generation, and must be called. Close waits for it.
func (c *Client) cancelling(stream *Stream) func() {
	c.cancels.Add(1)
	return func() {
		defer c.cancels.Done()
		ctx, done := context.WithTimeout(context.WithoutCancel(stream.ctx), c.Policy.CancelTimeout)
		defer done()
		_, _ = c.Cancel(ctx, stream.GenerationID) // otherwise it ends after its detach_ttl
	}
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity allows keys over plaintext, because a service mesh may encrypt below gRPC.
func (bearer) RequireTransportSecurity() bool { return false }

type tokenSource func(context.Context) (string, error)

func (s tokenSource) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	token, err := s(ctx)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "no token for the call: "+err.Error())
	}
	return bearer(token).GetRequestMetadata(ctx, uri...)
}

// RequireTransportSecurity allows tokens over plaintext, as that of bearer does.
func (tokenSource) RequireTransportSecurity() bool { return false }
