package tokengrpc

import (
	"context"
	"crypto/rand"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
)

// ResumeOption is an option of Client.Resume.
type ResumeOption func(*resumeOptions)

type resumeOptions struct{ cancelOnClose bool }

// CancelOnClose makes leaving the loop, cancelling the context and closing the client stop the generation, as on a stream of
// Client.Stream.
func CancelOnClose() ResumeOption {
	return func(options *resumeOptions) { options.cancelOnClose = true }
}

// newStream completes the request and returns its stream.
func newStream(ctx context.Context, client *Client, request *pb.StreamTokensRequest) *Stream {
	if request.GenerationId == "" {
		request.GenerationId = rand.Text()
	}
	if request.Recovery == nil {
		request.Recovery = &pb.Recovery{}
	}
	if request.Recovery.DisconnectAction == pb.DisconnectAction_DISCONNECT_ACTION_UNSPECIFIED {
		request.Recovery.DisconnectAction = pb.DisconnectAction_DISCONNECT_ACTION_DETACH
	}
	// The server applies the deadline to the generation itself, even if the connection breaks.
	if _, limited := ctx.Deadline(); limited && request.GetLimits().GetDeadlineAction() == 0 {
		if request.Limits == nil {
			request.Limits = &pb.Limits{}
		}
		request.Limits.DeadlineAction = pb.DeadlineAction_DEADLINE_ACTION_FAIL
	}
	resumable := request.Recovery.DisconnectAction == pb.DisconnectAction_DISCONNECT_ACTION_DETACH
	stream := &Stream{GenerationID: request.GenerationId, ctx: ctx, client: client, request: request}
	stream.session = session{
		answer: &stream.Answer, id: stream.GenerationID, policy: client.Policy, resumable: resumable, cancels: resumable,
	}
	stream.session.deadline, _ = ctx.Deadline()
	return stream
}

// resumeStream returns a read-only stream.
func resumeStream(ctx context.Context, client *Client, cursor Cursor, options resumeOptions) *Stream {
	stream := &Stream{Answer: answerAfter(cursor), GenerationID: cursor.GenerationID, ctx: ctx, client: client, refused: cursor.valid()}
	stream.session = session{
		answer: &stream.Answer, id: stream.GenerationID, policy: client.Policy, after: cursor.Sequence,
		readOnly: true, resumable: true, cancels: options.cancelOnClose,
	}
	stream.session.deadline, _ = ctx.Deadline()
	return stream
}
