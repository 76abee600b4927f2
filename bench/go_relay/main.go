// Command go_relay is the textbook relay in Go: net/http for the engine, and grpc-go with a `Send` per token.
//
// Its messages have the same contents as those of bench/textbook.py: sequence, index, text, time and cumulative usage (a
// chunk counts as one token until the engine reports the total). It stores nothing, so nothing can be resumed.
//
//	go_relay --base-url URL --model MODEL [--listen HOST:PORT]
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "HOST:PORT")
	baseURL := flag.String("base-url", "", "address of an OpenAI-compatible engine, with /v1")
	model := flag.String("model", "", "the model's name there")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	// As many idle connections as the textbook's client keeps; Go's default is two.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 1000, 1000
	server := grpc.NewServer()
	pb.RegisterTokenStreamServer(server, &relay{
		client: &http.Client{Transport: transport}, url: *baseURL + "/chat/completions", model: *model,
	})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.Stop()
	}()
	fmt.Println("listening on", listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
