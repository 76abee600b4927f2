// Command code_assistant asks a model for code, prints it as it arrives, and cancels the generation as soon as the first
// code block is complete. The explanation that the model would have written afterwards is neither generated nor billed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	tokengrpc "github.com/tokengrpc/tokengrpc/clients/go"
	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
)

const instructions = "You write code. Answer with one fenced code block first; explain it afterwards."

func main() {
	target := flag.String("target", "127.0.0.1:50051", "the server, `HOST:PORT`")
	until := flag.String("until", "code", "stop after the first `PART`: code, sentence or paragraph")
	maxTokens := flag.Int("max-tokens", 400, "the maximum number of tokens to generate")
	usual := flag.Int("usual", 0, "the usual number of tokens of such an answer, if known")
	flag.Parse()
	ctx, done := signal.NotifyContext(context.Background(), os.Interrupt)
	defer done()
	question := strings.Join(flag.Args(), " ")
	if question == "" {
		question = "Write a Go function that reverses a string."
	}
	if err := assist(ctx, *target, question, *until, int32(*maxTokens), int32(*usual)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func assist(ctx context.Context, target, question, until string, maxTokens, usual int32) error {
	endOf, known := parts[until]
	if !known {
		return fmt.Errorf("-until %s is unknown: pass code, sentence or paragraph", until)
	}
	client, err := tokengrpc.New(target)
	if err != nil {
		return err
	}
	defer client.Close()
	stream := client.Stream(ctx, request(question, maxTokens))
	complete, err := show(os.Stdout, stream, endOf)
	fmt.Println()
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: the generation was cancelled")
	}
	if err != nil {
		return err
	}
	// Leaving the loop has cancelled the generation, so its usage is final.
	ctx, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	generation, err := client.Get(ctx, stream.GenerationID)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, saved(generation, complete, until, maxTokens, usual))
	return nil
}

func request(question string, maxTokens int32) *pb.StreamTokensRequest {
	return &pb.StreamTokensRequest{
		Input: &pb.StreamTokensRequest_Conversation{Conversation: &pb.Conversation{Messages: []*pb.ConversationMessage{
			{Role: pb.Role_ROLE_SYSTEM, Text: instructions},
			{Role: pb.Role_ROLE_USER, Text: question},
		}}},
		MaxOutputTokenCount: &maxTokens,
	}
}

// show writes the answer as it arrives, until the part is complete. It returns whether the part was completed.
func show(out io.Writer, stream *tokengrpc.Stream, endOf func(string) int) (bool, error) {
	text := ""
	for token, err := range stream.Tokens() {
		if err != nil {
			return false, err
		}
		shown := len(text)
		text += token.GetText()
		if end := endOf(text); end >= 0 {
			fmt.Fprint(out, text[shown:max(shown, end)])
			return true, nil
		}
		fmt.Fprint(out, token.GetText())
	}
	return false, nil
}

// saved returns the summary. The length of the rest is unknown, so the saved tokens are estimated from the usual length of
// such answers or, without it, from the maximum number of tokens.
func saved(generation *pb.Generation, complete bool, until string, maxTokens, usual int32) string {
	generated := generation.GetUsage().GetOutputTokenCount()
	if !complete || generation.GetState() != pb.GenerationState_GENERATION_STATE_CANCELLED {
		return fmt.Sprintf("the answer ended by itself after %d tokens: none saved", generated)
	}
	summary := fmt.Sprintf("stopped when the first %s was complete, after %d tokens: ", partNames[until], generated)
	if usual > 0 {
		return summary + fmt.Sprintf("about %d saved of the usual %d", max(0, usual-generated), usual)
	}
	return summary + fmt.Sprintf("up to %d saved of the %d allowed", max(0, maxTokens-generated), maxTokens)
}
