package tokengrpc

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// endless is a server that generates until it is cancelled. These tests cover Go's contexts; the interop suite covers the
// other cases.
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

func (e *endless) ResumeTokens(_ *pb.ResumeTokensRequest, stream grpc.ServerStreamingServer[pb.StreamTokensResponse]) error {
	if err := stream.Send(tokens(2, 1, "token")); err != nil {
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

func TestDetachingLeavesTheGenerationRunning(t *testing.T) {
	service, client := startEndless(t)
	stream := client.Stream(t.Context(), &pb.StreamTokensRequest{GenerationId: "chat-7"})
	for _, err := range stream.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		cursor, err := stream.Detach()
		if err != nil || cursor != stream.Cursor() || !strings.HasSuffix(cursor.String(), "..chat-7") || cursor.Sequence != 1 {
			t.Errorf("%v, %v", cursor, err)
		}
	}
	closeAndCount(t, client, service, 0)
}

func TestDetachingFromAnotherGoroutineEndsTheLoop(t *testing.T) {
	service, client := startEndless(t)
	stream := client.Stream(t.Context(), &pb.StreamTokensRequest{})
	go func() {
		for stream.Cursor().Sequence == 0 {
			runtime.Gosched()
		}
		if _, err := stream.Detach(); err != nil {
			t.Error(err)
		}
	}()
	for _, err := range stream.Tokens() {
		if err != nil {
			t.Error(err)
		}
	}
	closeAndCount(t, client, service, 0)
}

func TestAStreamThatIsNotResumableCannotBeDetached(t *testing.T) {
	_, client := startEndless(t)
	recovery := &pb.Recovery{DisconnectAction: pb.DisconnectAction_DISCONNECT_ACTION_CANCEL}
	stream := client.Stream(t.Context(), &pb.StreamTokensRequest{Recovery: recovery})
	for range stream.Tokens() {
		_, err := stream.Detach()
		if reason(err) != "NOT_RESUMABLE" || status.Code(err) != codes.FailedPrecondition {
			t.Error(err)
		}
		break
	}
}

func TestAReaderCancelsOnlyIfItAskedTo(t *testing.T) {
	for _, row := range []struct {
		name    string
		options []ResumeOption
		cancels int
	}{{"a mere reader", nil, 0}, {"a reader that cancels", []ResumeOption{CancelOnClose()}, 1}} {
		t.Run(row.name, func(t *testing.T) {
			service, client := startEndless(t)
			for token, err := range client.Resume(t.Context(), Cursor{GenerationID: "chat-7", Sequence: 1}, row.options...).Tokens() {
				if err != nil || token.GetIndex() != 1 {
					t.Fatal(token, err)
				}
				break
			}
			closeAndCount(t, client, service, row.cancels)
		})
	}
}

func TestAnInvalidCursorIsRefusedBeforeAnyCall(t *testing.T) {
	_, client := startEndless(t)
	for _, err := range client.Resume(t.Context(), Cursor{}).Tokens() {
		if reason(err) != "INVALID_CURSOR" {
			t.Error(err)
		}
	}
}

func TestClosingTheClientStopsItsStreams(t *testing.T) {
	service, client := startEndless(t)
	var last error
	for token, err := range client.Stream(t.Context(), &pb.StreamTokensRequest{}).Tokens() {
		if token != nil {
			closeAndCount(t, client, service, 1)
		}
		last = err
	}
	if reason(last) != "CLIENT_CLOSED" {
		t.Errorf("the reader got %v", last)
	}
	for _, err := range client.Stream(t.Context(), &pb.StreamTokensRequest{}).Tokens() {
		last = err
	}
	if _, err := client.Get(t.Context(), "chat-7"); reason(last) != "CLIENT_CLOSED" || reason(err) != "CLIENT_CLOSED" {
		t.Errorf("later calls got %v and %v", last, err)
	}
}

// closeAndCount closes the client, and checks how many generations were cancelled then.
func closeAndCount(t *testing.T, client *Client, service *endless, cancels int) {
	t.Helper()
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if got := len(service.cancelled); got != cancels {
		t.Errorf("%d generations were cancelled, want %d", got, cancels)
	}
}

func reason(err error) string {
	failure := new(Error)
	if !errors.As(err, &failure) {
		return ""
	}
	return failure.Reason
}
