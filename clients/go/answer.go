package tokengrpc

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc/codes"
)

// Answer is what has arrived of a generation. What is not known yet is empty, 0 or nil.
type Answer struct {
	// Sequence is the last event that arrived: the cursor for Resume.
	Sequence int32
	// Usage is cumulative, as of the last event.
	Usage *pb.Usage
	// Started tells the model and engine that run it.
	Started *pb.Started
	// Finished tells how it ended.
	Finished *pb.Finished

	text, reasoning, refusal strings.Builder
	calls                    map[int32]*pb.ToolCall
	nextIndex                int32 // negative: not known, as reading began in the middle
	hasOutput                bool
}

// Text is the answer so far.
func (a *Answer) Text() string { return a.text.String() }

// ReasoningText is the model's reasoning so far.
func (a *Answer) ReasoningText() string { return a.reasoning.String() }

// RefusalText is the model's refusal so far.
func (a *Answer) RefusalText() string { return a.refusal.String() }

// ToolCalls returns the tool calls so far, in order. They are complete once the generation has finished. Send them back
// unchanged when the conversation continues: an engine may require their Opaque.
func (a *Answer) ToolCalls() []*pb.ToolCall {
	calls := make([]*pb.ToolCall, 0, len(a.calls))
	for _, index := range slices.Sorted(maps.Keys(a.calls)) {
		calls = append(calls, a.calls[index])
	}
	return calls
}

// add takes a message in and tells whether it holds anything new, a notice included. It fails when something is missing
// between the last message and this one.
func (a *Answer) add(message *pb.StreamTokensResponse) (bool, *Error) {
	if message.GetNotice() != nil {
		return true, nil
	}
	if message.GetSequence() <= a.Sequence || a.Finished != nil {
		return false, nil
	}
	// Only tokens and tool-call fragments are joined; an event stands alone. One that this version does not know looks
	// like none, and counts as processed.
	if message.GetEvent() != nil && message.GetSequence() != a.Sequence+1 {
		return false, gap("event %d came after event %d", message.GetSequence(), a.Sequence)
	}
	if err := a.addTokens(message.GetTokens()); err != nil {
		return false, err
	}
	a.addFragments(message.GetToolCallFragments())
	if message.Usage != nil {
		a.Usage = message.Usage
	}
	switch event := message.GetEvent().(type) {
	case *pb.StreamTokensResponse_Started:
		a.Started = event.Started
	case *pb.StreamTokensResponse_Finished:
		a.Finished = event.Finished
	}
	a.Sequence = message.GetSequence()
	return true, nil
}

func (a *Answer) addTokens(tokens []*pb.Token) *Error {
	for _, token := range tokens {
		if a.nextIndex >= 0 && token.GetIndex() != a.nextIndex {
			return gap("token %d came where token %d was due", token.GetIndex(), a.nextIndex)
		}
		a.nextIndex = token.GetIndex() + token.GetCount()
		a.text.WriteString(token.GetText())
		a.reasoning.WriteString(token.GetReasoningText())
		a.refusal.WriteString(token.GetRefusalText())
		a.hasOutput = true
	}
	return nil
}

func (a *Answer) addFragments(fragments []*pb.ToolCallFragment) {
	for _, fragment := range fragments {
		call := a.calls[fragment.GetCallIndex()]
		if call == nil {
			call = &pb.ToolCall{}
			if a.calls == nil {
				a.calls = map[int32]*pb.ToolCall{}
			}
			a.calls[fragment.GetCallIndex()] = call
		}
		call.Id = cmp.Or(call.GetId(), fragment.GetId())
		call.FunctionName = cmp.Or(call.GetFunctionName(), fragment.GetFunctionName())
		call.Arguments += fragment.GetArgumentsFragment()
		if len(fragment.GetOpaque()) > 0 {
			call.Opaque = fragment.GetOpaque()
		}
		a.hasOutput = true
	}
}

// answerAfter begins after a sequence: 0, or where an earlier reader stopped.
func answerAfter(sequence int32) Answer {
	answer := Answer{Sequence: sequence}
	if sequence > 0 {
		answer.nextIndex = -1
	}
	return answer
}

func gap(format string, args ...any) *Error {
	what := fmt.Sprintf(format, args...)
	return &Error{Code: codes.DataLoss, Reason: "STREAM_GAP", Message: "the stream has a gap (" + what + ")"}
}
