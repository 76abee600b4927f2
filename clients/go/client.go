// Package tokengrpc streams the tokens of language models from a tokengrpc server, and goes on by itself after a dropped
// connection. It follows the same written policy as the clients in other languages (docs/client.md).
package tokengrpc

import (
	"context"
	_ "embed"
	"sync"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"
)

// A copy of clients/service_config.json: go:embed cannot reach outside the module. A test compares the two.
//
//go:embed service_config.json
var serviceConfig string

// Client talks to one server, or to one of the replicas behind a name. Goroutines may share it.
type Client struct {
	// RPC makes plain calls, for everything that needs no resuming: CountTokens, ListModels, GenerateText. Their errors
	// are gRPC's own.
	RPC pb.TokenStreamClient

	// Policy bounds the patience of streams. Change it before the first stream.
	Policy Policy

	conn    *grpc.ClientConn
	leaving sync.WaitGroup
}

// New makes a client; it connects with the first call. Plaintext unless an option sets transport credentials; options
// win over the client's own.
func New(target string, options ...grpc.DialOption) (*Client, error) {
	defaults := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// A link that was cut without a word is noticed after 30 s while a call is open.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}),
		// Calls fail at once while the channel waits to connect again: by default for a second and more, in which the
		// resume policy would use up its attempts.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// Many tokens with many logprobs are more than gRPC's 4 MiB.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16 << 20)),
	}
	conn, err := grpc.NewClient(target, append(defaults, options...)...)
	if err != nil {
		return nil, err
	}
	return &Client{RPC: pb.NewTokenStreamClient(conn), Policy: DefaultPolicy, conn: conn}, nil
}

// BearerToken sends `authorization: Bearer …` with every call.
func BearerToken(token string) grpc.DialOption {
	return grpc.WithPerRPCCredentials(bearer(token))
}

// Close waits for the generations that readers left to be cancelled (at most Policy.CancelTimeout), then closes the
// connection. End the streams first, by leaving their loops or cancelling their contexts.
func (c *Client) Close() error {
	c.leaving.Wait()
	return c.conn.Close()
}

// Stream starts a generation when its reading begins. The request says how it lives, and is not changed:
//
//   - An empty generation_id gets a random one.
//   - Without a recovery.disconnect_action it is DETACH: the stream survives dropped connections. With CANCEL it does
//     not, and the generation ends with its connection.
//   - A deadline of ctx is the generation's own: it ends on the server a little earlier, with what there is. The stream
//     then fails with DEADLINE_EXCEEDED or, under limits.deadline_action FINISH_PARTIAL, ends well.
//
// Cancelling ctx stops the generation, as leaving the loop does.
func (c *Client) Stream(ctx context.Context, request *pb.StreamTokensRequest) *Stream {
	return newStream(ctx, c, proto.CloneOf(request))
}

// Resume reads a generation that another call started, from the event after the given sequence on. Leaving the loop
// leaves the generation alone.
func (c *Client) Resume(ctx context.Context, generationID string, after int32) *Stream {
	return &Stream{
		Answer: answerAfter(after), GenerationID: generationID,
		ctx: ctx, client: c, after: after, resumable: true,
	}
}

// Get tells what is known of a generation. Its errors are *Error.
func (c *Client) Get(ctx context.Context, generationID string) (*pb.Generation, error) {
	response, err := c.RPC.GetGeneration(ctx, &pb.GetGenerationRequest{GenerationId: generationID})
	if err != nil {
		return nil, decode(err)
	}
	return response.GetGeneration(), nil
}

// Cancel stops a generation for all its readers and answers it as it ended; again changes nothing. Its errors are *Error.
func (c *Client) Cancel(ctx context.Context, generationID string) (*pb.Generation, error) {
	response, err := c.RPC.CancelGeneration(ctx, &pb.CancelGenerationRequest{GenerationId: generationID})
	if err != nil {
		return nil, decode(err)
	}
	return response.GetGeneration(), nil
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// Plaintext is for meshes that encrypt below; what the server demands, it checks itself.
func (bearer) RequireTransportSecurity() bool { return false }
