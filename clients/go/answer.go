package tokengrpc

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strings"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
)

// Answer is the received part of a generation. Fields without data yet are empty, 0 or nil.
type Answer struct {
	// Sequence is that of the last event received.
	Sequence int32
	// Usage is the cumulative usage as of the last event.
	Usage *pb.Usage
	// Started has the model and the engine that run the generation.
	Started *pb.Started
	// Finished says how the generation ended.
	Finished *pb.Finished

	text, reasoning, refusal strings.Builder
	calls                    map[int32]*pb.ToolCall
	nextIndex                int32 // negative: unknown, because reading began after an event
	incarnation              string
	output                   checksum
	written                  []byte // the output of one message, kept to reuse its memory
}

// checksum is that of the output up to an event. Before any output it is known to be 0, unless reading began after an event.
type checksum struct {
	value   uint32
	unknown bool
	begun   bool // there is output
}

// Text returns the text so far.
func (a *Answer) Text() string { return a.text.String() }

// ReasoningText returns the model's reasoning so far.
func (a *Answer) ReasoningText() string { return a.reasoning.String() }

// RefusalText returns the model's refusal so far.
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

// add adds a message and returns whether it is new. Notices are always new. It fails if an event or a token is missing
// between the last message and this one, or if the output differs from what the server sent before. Then it adds nothing.
func (a *Answer) add(message *pb.StreamTokensResponse) (bool, *Error) {
	if message.GetNotice() != nil {
		a.incarnation = cmp.Or(message.GetAttached().GetLogIncarnation(), a.incarnation)
		return true, nil
	}
	if message.GetSequence() <= a.Sequence || a.Finished != nil {
		return false, nil
	}
	if err := a.checkOrder(message); err != nil {
		return false, err
	}
	output, err := a.checkOutput(message)
	if err != nil {
		return false, err
	}
	a.output = output
	a.addTokens(message.GetTokens())
	a.addFragments(message.GetToolCallFragments())
	if message.Usage != nil {
		a.Usage = message.Usage
	}
	switch event := message.GetEvent().(type) {
	case *pb.StreamTokensResponse_Started:
		a.Started = event.Started
		a.incarnation = cmp.Or(event.Started.GetLogIncarnation(), a.incarnation)
	case *pb.StreamTokensResponse_Finished:
		a.Finished = event.Finished
	}
	a.Sequence = message.GetSequence()
	return true, nil
}

// checkOrder returns an error if something is missing before the message.
func (a *Answer) checkOrder(message *pb.StreamTokensResponse) *Error {
	// Only tokens and tool-call fragments are joined, so any other event must directly follow the cursor. An event kind
	// that this version does not know appears as nil: only its sequence counts.
	if message.GetEvent() != nil && message.GetSequence() != a.Sequence+1 {
		return gap("event %d follows event %d", message.GetSequence(), a.Sequence)
	}
	next := a.nextIndex
	for _, token := range message.GetTokens() {
		if next >= 0 && token.GetIndex() != next {
			return gap("expected token %d, received token %d", next, token.GetIndex())
		}
		next = token.GetIndex() + token.GetCount()
	}
	return nil
}

// checkOutput returns the checksum after the message, or an error if the server's differs.
func (a *Answer) checkOutput(message *pb.StreamTokensResponse) (checksum, *Error) {
	written := a.written[:0]
	for _, token := range message.GetTokens() {
		written = append(append(append(written, token.GetText()...), token.GetReasoningText()...), token.GetRefusalText()...)
	}
	for _, fragment := range message.GetToolCallFragments() {
		written = append(append(append(written, fragment.GetId()...), fragment.GetFunctionName()...), fragment.GetArgumentsFragment()...)
	}
	a.written = written
	after := a.output
	after.begun = after.begun || len(message.GetTokens())+len(message.GetToolCallFragments()) > 0
	after.value = crc32.Update(after.value, crc32.IEEETable, written)
	if message.OutputChecksum == nil {
		return after, nil
	}
	if !after.unknown && after.value != message.GetOutputChecksum() {
		return after, dataLoss("CHECKSUM_MISMATCH", fmt.Sprintf("at sequence %d, the server's checksum is %08x, this client's %08x",
			message.GetSequence(), message.GetOutputChecksum(), after.value))
	}
	return checksum{value: message.GetOutputChecksum(), begun: true}, nil
}

func (a *Answer) addTokens(tokens []*pb.Token) {
	for _, token := range tokens {
		a.nextIndex = token.GetIndex() + token.GetCount()
		a.text.WriteString(token.GetText())
		a.reasoning.WriteString(token.GetReasoningText())
		a.refusal.WriteString(token.GetRefusalText())
	}
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
	}
}

// cursor returns the position after the last event.
func (a *Answer) cursor(generationID string) Cursor {
	cursor := Cursor{GenerationID: generationID, Sequence: a.Sequence, LogIncarnation: a.incarnation}
	if a.output.begun && !a.output.unknown {
		cursor.Checksum, cursor.HasChecksum = a.output.value, true
	}
	return cursor
}

// answerAfter returns an answer that begins at the cursor of an earlier reader.
func answerAfter(cursor Cursor) Answer {
	answer := Answer{Sequence: cursor.Sequence, incarnation: cursor.LogIncarnation}
	if cursor.Sequence > 0 {
		answer.nextIndex = -1
		answer.output = checksum{value: cursor.Checksum, unknown: !cursor.HasChecksum, begun: cursor.HasChecksum}
	}
	return answer
}
