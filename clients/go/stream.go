package tokengrpc

import (
	"context"
	crand "crypto/rand"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// trailersTimeout bounds the wait for a call's trailers once its generation has finished: they say nothing new, but the
// server has closed its books when they come.
const trailersTimeout = time.Second

// Stream is one generation, read over as many calls as that takes. Its fields and the Answer grow while it is read.
type Stream struct {
	Answer

	GenerationID string
	// Resumes is how often the stream called again after its first call.
	Resumes int

	ctx       context.Context
	client    *Client
	request   *pb.StreamTokensRequest // nil: only reads what another call started
	after     int32                   // where reading began
	resumable bool

	opened   bool
	err      *Error
	attempts int // calls in a row that brought nothing new
	retries  int // further starts
}

// newStream completes a request so that its stream lives as asked.
func newStream(ctx context.Context, client *Client, request *pb.StreamTokensRequest) *Stream {
	if request.GenerationId == "" {
		request.GenerationId = crand.Text()
	}
	if request.Recovery == nil {
		request.Recovery = &pb.Recovery{}
	}
	if request.Recovery.DisconnectAction == pb.DisconnectAction_DISCONNECT_ACTION_UNSPECIFIED {
		request.Recovery.DisconnectAction = pb.DisconnectAction_DISCONNECT_ACTION_DETACH
	}
	// The context's deadline is the generation's own, whatever becomes of the connection.
	if _, limited := ctx.Deadline(); limited && request.GetLimits().GetDeadlineAction() == 0 {
		if request.Limits == nil {
			request.Limits = &pb.Limits{}
		}
		request.Limits.DeadlineAction = pb.DeadlineAction_DEADLINE_ACTION_FAIL
	}
	resumable := request.Recovery.DisconnectAction == pb.DisconnectAction_DISCONNECT_ACTION_DETACH
	return &Stream{GenerationID: request.GenerationId, ctx: ctx, client: client, request: request, resumable: resumable}
}

// Tokens are all tokens, each once, in order; at most one error, an *Error, as the last pair. Leaving the loop early stops
// the generation, unless the stream came from Client.Resume. A stream is read once.
func (s *Stream) Tokens() iter.Seq2[*pb.Token, error] {
	return func(yield func(*pb.Token, error) bool) {
		for message, err := range s.Messages() {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, token := range message.Tokens {
				if !yield(token, nil) {
					return
				}
			}
		}
	}
}

// Messages are whole messages as they come, notices included, without what had arrived before; otherwise as Tokens.
func (s *Stream) Messages() iter.Seq2[*pb.StreamTokensResponse, error] {
	return func(yield func(*pb.StreamTokensResponse, error) bool) {
		if s.opened {
			yield(nil, errors.New("tokengrpc: a stream is read once: call Stream or Resume again"))
			return
		}
		s.opened = true
		defer s.leave()
		for over := false; !over; {
			resuming := s.request == nil || s.Sequence > 0
			failure, left := s.read(resuming, yield)
			if left {
				return
			}
			if over, failure = s.next(failure, resuming); failure != nil {
				yield(nil, s.fail(failure))
				return
			}
		}
	}
}

// read makes one call and reads it to its end, or to the generation's; left tells that the reader left the loop.
func (s *Stream) read(resuming bool, yield func(*pb.StreamTokensResponse, error) bool) (failure *Error, left bool) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var call grpc.ServerStreamingClient[pb.StreamTokensResponse]
	var err error
	if resuming {
		request := &pb.ResumeTokensRequest{GenerationId: s.GenerationID, AfterSequence: s.Sequence}
		call, err = s.client.RPC.ResumeTokens(ctx, request)
	} else {
		call, err = s.client.RPC.StreamTokens(ctx, s.request)
	}
	for err == nil && s.Finished == nil {
		var message *pb.StreamTokensResponse
		if message, err = call.Recv(); err != nil {
			break
		}
		before := s.Sequence
		isNew, gap := s.add(message)
		if gap != nil {
			return gap, false
		}
		if s.Sequence != before {
			s.attempts = 0
		}
		if isNew && !yield(message, nil) {
			return nil, true
		}
	}
	if s.Finished != nil {
		time.AfterFunc(trailersTimeout, cancel)
		_, _ = call.Recv()
		return nil, false
	}
	if err == io.EOF {
		return nil, false
	}
	return decode(err), false
}

// next does what follows a call that ended, waits included: it is over, or fails, or the next call is due.
func (s *Stream) next(failure *Error, resuming bool) (over bool, _ *Error) {
	if s.Finished != nil {
		if ended := s.Finished.GetStatus(); ended.GetCode() != int32(codes.OK) {
			return true, fromStatus(status.FromProto(ended))
		}
		return true, nil
	}
	if cause := s.ctx.Err(); cause != nil && (failure == nil || failure.Reason == "") {
		return true, contextEnded(cause)
	}
	switch nextStep(failure, situation{resuming: resuming, begun: s.begun(), readOnly: s.request == nil}) {
	case end:
		return true, nil
	case reconnect:
		if failure == nil {
			failure = &Error{Code: codes.Unavailable, Message: "the stream ended without the generation's end"}
		}
		if !s.resumable {
			return true, s.connectionLost(failure)
		}
		return s.again(&s.attempts, s.client.Policy.Attempts, failure, s.connectionLost(failure))
	case lost:
		// Nothing had been generated that the reader has: the server has forgotten the generation, as after a crash.
		if failure.Reason != "GENERATION_NOT_FOUND" || s.hasOutput || s.request == nil {
			return true, generationLost(failure)
		}
		s.Answer = Answer{}
		return s.again(&s.retries, s.client.Policy.RetryAttempts, failure, generationLost(failure))
	case retry:
		if s.request != nil {
			return s.again(&s.retries, s.client.Policy.RetryAttempts, failure, failure)
		}
	}
	return true, failure
}

// again waits for another attempt, of which there are at most so many; without one the stream ends with an error.
func (s *Stream) again(done *int, most int, failure, otherwise *Error) (bool, *Error) {
	policy := s.client.Policy
	delay := policy.backoff(*done, rand.Float64()) + max(0, failure.RetryDelay)
	deadline, limited := s.ctx.Deadline()
	if *done >= most || failure.RetryDelay > policy.MaxRetryDelay || limited && delay >= time.Until(deadline) {
		return true, otherwise
	}
	*done++
	s.Resumes++
	select {
	case <-time.After(delay):
		return false, nil
	case <-s.ctx.Done():
		return true, contextEnded(s.ctx.Err())
	}
}

func (s *Stream) begun() bool { return s.Sequence > s.after }

// connectionLost is the error of a connection that is given up: the server's own where it gave a reason, and gRPC's for a
// server that was never reached.
func (s *Stream) connectionLost(failure *Error) *Error {
	if failure.Reason != "" || !s.begun() && failure.Code == codes.Unavailable {
		return failure
	}
	return connectionLost(failure, s.attempts, s.begun() && s.resumable)
}

// fail adds what this side knows. The cursor is the reader's: the server may be ahead of it.
func (s *Stream) fail(err *Error) *Error {
	if err.GenerationID == "" {
		err.GenerationID = s.GenerationID
	}
	if err.Usage == nil {
		err.Usage = s.Usage
	}
	err.LastSequence = s.Sequence
	s.err = err
	return err
}

// leave stops a generation that may go on though nobody will come back for it. A reader who left the loop has it done
// when the loop is over; one whose context ended does not wait.
func (s *Stream) leave() {
	if s.request == nil || !s.resumable || s.Finished != nil {
		return
	}
	cancel := func() {
		ctx, done := context.WithTimeout(context.WithoutCancel(s.ctx), s.client.Policy.CancelTimeout)
		defer done()
		_, _ = s.client.Cancel(ctx, s.GenerationID) // otherwise it ends after its detach_ttl
	}
	switch {
	case s.err == nil:
		cancel()
	case s.err.stopped, s.err.Reason == "STREAM_GAP", s.err.Code == codes.DeadlineExceeded && !s.err.Ended:
		s.client.leaving.Go(cancel)
	}
}
