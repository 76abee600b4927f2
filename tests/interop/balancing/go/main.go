// Command balancing streams from several servers with one channel, which chooses a server for each call, and prints a line
// per call: the server's address, and the load that the server reported in the call's trailers.
//
//	balancing SERVICE-CONFIG SECONDS CALLERS ADDRESS...
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/cncf/xds/go/xds/data/orca/v3"
	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/balancer/weightedroundrobin" // registers weighted_round_robin
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func main() {
	config, addresses := os.Args[1], os.Args[4:]
	servers := manual.NewBuilderWithScheme("servers")
	var state resolver.State
	for _, address := range addresses {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	servers.InitialState(state)
	conn, err := grpc.NewClient("servers:///", grpc.WithResolvers(servers), grpc.WithDefaultServiceConfig(config),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(number(os.Args[2]))*time.Second)
	defer cancel()
	var callers sync.WaitGroup
	for range number(os.Args[3]) {
		callers.Go(func() {
			for ctx.Err() == nil {
				if err := call(ctx, pb.NewTokenStreamClient(conn)); err != nil && ctx.Err() == nil {
					log.Fatal(err)
				}
			}
		})
	}
	callers.Wait()
}

// call streams one short answer. It prints a line when the call has begun, and another one with the report when it has ended.
func call(ctx context.Context, client pb.TokenStreamClient) error {
	stream, err := client.StreamTokens(ctx, &pb.StreamTokensRequest{
		Input: &pb.StreamTokensRequest_Prompt{Prompt: "hello"}, MaxOutputTokenCount: proto.Int32(20),
	})
	if err != nil {
		return err
	}
	for begun := false; ; begun = true {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if !begun {
			server, _ := peer.FromContext(stream.Context())
			fmt.Println("begun", server.Addr)
		}
		if message.GetFinished() != nil {
			break
		}
	}
	for err == nil {
		_, err = stream.Recv() // the trailers follow the last message
	}
	for _, encoded := range stream.Trailer().Get("endpoint-load-metrics-bin") {
		var report v3.OrcaLoadReport
		if err := proto.Unmarshal([]byte(encoded), &report); err != nil {
			return err
		}
		fmt.Println("report", protojson.MarshalOptions{}.Format(&report))
	}
	return nil
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return value
}
