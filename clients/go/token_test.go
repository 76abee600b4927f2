package tokengrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// repeating is a server that repeats the caller's authorization as the name of a model.
type repeating struct {
	pb.UnimplementedTokenStreamServer
}

func (repeating) ListModels(ctx context.Context, _ *pb.ListModelsRequest) (*pb.ListModelsResponse, error) {
	sent := metadata.ValueFromIncomingContext(ctx, "authorization")
	return &pb.ListModelsResponse{Models: []*pb.Model{{Name: fmt.Sprint(sent)}}}, nil
}

func TestATokenSourceIsAskedForEachCall(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterTokenStreamServer(server, repeating{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	asked := 0
	client, err := New(listener.Addr().String(), TokenSource(func(context.Context) (string, error) {
		if asked++; asked > 2 {
			return "", errors.New("the issuer is away")
		}
		return fmt.Sprintf("token-%d", asked), nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, want := range []string{"[Bearer token-1]", "[Bearer token-2]"} {
		answer, err := client.RPC.ListModels(t.Context(), &pb.ListModelsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.GetModels()[0].GetName(); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	if _, err := client.RPC.ListModels(t.Context(), &pb.ListModelsRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("%v", err)
	}
}
