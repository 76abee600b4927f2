package tokengrpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	tokengrpc "github.com/tokengrpc/tokengrpc/clients/go"
	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Leaving the loop or reaching the deadline stops the generation.
func Example() {
	client, err := tokengrpc.New("127.0.0.1:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ctx, done := context.WithTimeout(context.Background(), 30*time.Second)
	defer done()
	stream := client.Stream(ctx, &pb.StreamTokensRequest{
		Input: &pb.StreamTokensRequest_Prompt{Prompt: "What is token streaming?"},
	})
	for token, err := range stream.Tokens() {
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Print(token.GetText())
	}
	fmt.Println(stream.Usage.GetOutputTokenCount(), "tokens")
}

// A server with TLS and keys, and a stream that reconnects for at most ten seconds.
func ExampleNew() {
	client, err := tokengrpc.New(
		"tokens.example.com:443",
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{})),
		tokengrpc.BearerToken(os.Getenv("TOKENGRPC_TOKEN")),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	client.Policy.Patience = 10 * time.Second
}

// A process that is about to end hands its stream to another one, which goes on with ParseCursor and Client.Resume.
func ExampleStream_Detach() {
	var client *tokengrpc.Client
	ctx, done := context.WithCancel(context.Background()) // such as that of signal.NotifyContext
	defer done()
	stream := client.Stream(context.Background(), &pb.StreamTokensRequest{
		Input: &pb.StreamTokensRequest_Prompt{Prompt: "What is token streaming?"},
	})
	context.AfterFunc(ctx, func() { _, _ = stream.Detach() })
	for token, err := range stream.Tokens() {
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Print(token.GetText())
	}
	if stream.Finished == nil {
		_ = os.WriteFile("cursor", []byte(stream.Cursor().String()), 0o600)
	}
}

func ExampleClient_Resume() {
	var client *tokengrpc.Client
	text, err := os.ReadFile("cursor")
	if err != nil {
		log.Fatal(err)
	}
	cursor, err := tokengrpc.ParseCursor(string(text))
	if err != nil {
		log.Fatal(err)
	}
	// Now this reader is responsible: if it leaves the loop, the generation stops.
	stream := client.Resume(context.Background(), cursor, tokengrpc.CancelOnClose())
	for token, err := range stream.Tokens() {
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Print(token.GetText())
	}
}

func ExampleError() {
	var client *tokengrpc.Client
	stream := client.Stream(context.Background(), &pb.StreamTokensRequest{})
	for _, err := range stream.Tokens() {
		failure := new(tokengrpc.Error)
		switch {
		case err == nil:
		case errors.Is(err, context.DeadlineExceeded):
			fmt.Println("out of time after", stream.Usage.GetOutputTokenCount(), "tokens")
		case errors.As(err, &failure) && failure.Advice == pb.RetryAdvice_RETRY_ADVICE_RESUME:
			fmt.Println("go on later with", stream.Cursor())
		default:
			log.Print(err)
		}
	}
}
