package main

import (
	"crypto/rand"
	"net/http"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var finishReasons = map[string]pb.FinishReason{
	"stop":           pb.FinishReason_FINISH_REASON_END,
	"length":         pb.FinishReason_FINISH_REASON_MAX_TOKENS,
	"tool_calls":     pb.FinishReason_FINISH_REASON_TOOL_CALLS,
	"content_filter": pb.FinishReason_FINISH_REASON_CONTENT_FILTER,
}

// relay relays conversations to one model.
type relay struct {
	pb.UnimplementedTokenStreamServer
	client     *http.Client
	url, model string
}

// StreamTokens relays one chat completion: `started`, one message per token, `finished`.
func (r *relay) StreamTokens(in *pb.StreamTokensRequest, out grpc.ServerStreamingServer[pb.StreamTokensResponse]) error {
	body, err := complete(out.Context(), r.client, r.url, request{
		Model: r.model, Messages: conversation(in), Stream: true, StreamOptions: map[string]bool{"include_usage": true},
	})
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	defer body.Close()
	started := &pb.Started{GenerationId: rand.Text(), Model: r.model}
	err = out.Send(&pb.StreamTokensResponse{Sequence: 1, Event: &pb.StreamTokensResponse_Started{Started: started}})
	if err != nil {
		return err
	}
	sequence := int32(1)
	reason := pb.FinishReason_FINISH_REASON_OTHER
	usage := &pb.Usage{Source: pb.UsageSource_USAGE_SOURCE_ESTIMATED}
	err = chunks(body, func(next *chunk) error {
		if next.Usage != nil {
			usage.InputTokenCount, usage.OutputTokenCount = next.Usage.PromptTokens, next.Usage.CompletionTokens
			usage.Source = pb.UsageSource_USAGE_SOURCE_ENGINE
		}
		if len(next.Choices) == 0 {
			return nil
		}
		choice := &next.Choices[0]
		if known, found := finishReasons[choice.FinishReason]; found {
			reason = known
		}
		if choice.Delta.Content == "" {
			return nil
		}
		sequence++
		usage.OutputTokenCount++
		token := &pb.Token{Index: sequence - 2, Count: 1, Text: choice.Delta.Content, EmitTime: timestamppb.Now()}
		return out.Send(&pb.StreamTokensResponse{Sequence: sequence, Tokens: []*pb.Token{token}, Usage: usage})
	})
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	finished := &pb.StreamTokensResponse_Finished{Finished: &pb.Finished{FinishReason: reason}}
	return out.Send(&pb.StreamTokensResponse{Sequence: sequence + 1, Usage: usage, Event: finished})
}

func conversation(in *pb.StreamTokensRequest) []message {
	var messages []message
	for _, item := range in.GetConversation().GetMessages() {
		messages = append(messages, message{Role: "user", Content: item.GetText()})
	}
	return messages
}
