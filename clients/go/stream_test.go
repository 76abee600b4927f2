package tokengrpc

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// endless generates until it is cancelled. The interop suite has the rest of the cases; here are those of Go's contexts.
type endless struct {
	pb.UnimplementedTokenStreamServer
	requests  chan *pb.StreamTokensRequest
	cancelled chan string
}

func (e *endless) StreamTokens(request *pb.StreamTokensRequest, stream grpc.ServerStreamingServer[pb.StreamTokensResponse]) error {
	e.requests <- request
	if err := stream.Send(tokens(1, 0, "token")); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (e *endless) CancelGeneration(_ context.Context, request *pb.CancelGenerationRequest) (*pb.CancelGenerationResponse, error) {
	e.cancelled <- request.GetGenerationId()
	return &pb.CancelGenerationResponse{Generation: &pb.Generation{}}, nil
}

func startEndless(t *testing.T) (*endless, *Client) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &endless{requests: make(chan *pb.StreamTokensRequest, 1), cancelled: make(chan string, 1)}
	server := grpc.NewServer()
	pb.RegisterTokenStreamServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client, err := New(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return service, client
}

func TestLeavingTheLoopCancelsTheGenerationBeforeTheNextLine(t *testing.T) {
	service, client := startEndless(t)
	stream := client.Stream(t.Context(), &pb.StreamTokensRequest{})
	for _, err := range stream.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	select {
	case id := <-service.cancelled:
		if id != stream.GenerationID {
			t.Errorf("cancelled %q, want %q", id, stream.GenerationID)
		}
	default:
		t.Error("not cancelled when the loop was over")
	}
}

func TestACancelledContextCancelsTheGeneration(t *testing.T) {
	service, client := startEndless(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for token, err := range client.Stream(ctx, &pb.StreamTokensRequest{}).Tokens() {
		if token != nil {
			cancel()
		}
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("the reader got %v", last)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if len(service.cancelled) != 1 {
		t.Error("not cancelled when the client was closed")
	}
}

func TestAContextsDeadlineIsTheGenerationsOwn(t *testing.T) {
	service, client := startEndless(t)
	ctx, done := context.WithTimeout(t.Context(), time.Second)
	defer done()
	asked := &pb.StreamTokensRequest{}
	var last error
	for _, err := range client.Stream(ctx, asked).Tokens() {
		last = err
	}
	failure := new(Error)
	if !errors.As(last, &failure) || failure.Code != codes.DeadlineExceeded || !errors.Is(last, context.DeadlineExceeded) {
		t.Errorf("the reader got %v", last)
	}
	if action := (<-service.requests).GetLimits().GetDeadlineAction(); action != pb.DeadlineAction_DEADLINE_ACTION_FAIL {
		t.Errorf("the request's deadline action is %v", action)
	}
	if asked.Limits != nil || asked.GenerationId != "" {
		t.Error("the caller's request was changed")
	}
}

func TestAStreamIsReadOnce(t *testing.T) {
	_, client := startEndless(t)
	stream := client.Stream(t.Context(), &pb.StreamTokensRequest{})
	for range stream.Tokens() {
		break
	}
	for _, err := range stream.Tokens() {
		if err == nil {
			t.Error("a second reading gave a token")
		}
	}
}
