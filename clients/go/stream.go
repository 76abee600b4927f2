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
	"google.golang.org/protobuf/types/known/durationpb"
)

// trailersTimeout bounds the wait for a call's trailers once its generation has finished: they say nothing new, but the
// server has closed its books when they come.
const trailersTimeout = time.Second

// Stream is one generation, read over as many calls as that takes. Its fields and the Answer grow while it is read.
type Stream struct {
	Answer

	// GenerationID changes when the call is repeated under a new id before anything came.
	GenerationID string
	// Resumes is how often the stream called again for the same generation.
	Resumes int

	ctx     context.Context
	client  *Client
	request *pb.StreamTokensRequest // nil: only reads what another call started
	after   int32                   // where reading began

	resumable        bool
	ownID            bool // the id was made here, so another start takes a new one
	failsAtTimeLimit bool // the time limit in the request stands for the context's deadline

	opened   bool
	err      *Error
	attempts int   // calls in a row that brought nothing new
	retries  int   // further starts
	unsure   bool  // a call broke, and the generation may run: its id is kept, as repeating StreamTokens attaches to it
	resuming bool  // the call was ResumeTokens
	cursor   int32 // where the call began
}

func newStream(ctx context.Context, client *Client, request *pb.StreamTokensRequest) *Stream {
	s := &Stream{ctx: ctx, client: client, request: request}
	if s.ownID = request.GenerationId == ""; s.ownID {
		request.GenerationId = crand.Text()
	}
	s.GenerationID = request.GenerationId
	if request.Recovery == nil {
		request.Recovery = &pb.Recovery{}
	}
	if request.Recovery.DisconnectAction == pb.DisconnectAction_DISCONNECT_ACTION_UNSPECIFIED {
		request.Recovery.DisconnectAction = pb.DisconnectAction_DISCONNECT_ACTION_DETACH
	}
	s.resumable = request.Recovery.DisconnectAction == pb.DisconnectAction_DISCONNECT_ACTION_DETACH
	return s
}

// limitTime lets the generation end on the server before the context's deadline. A smaller limit of the caller's own
// stays. Without DETACH the server does that by itself.
func (s *Stream) limitTime() {
	deadline, ok := s.ctx.Deadline()
	timeout := time.Until(deadline)
	if !ok || timeout <= 0 || s.request == nil || !s.resumable {
		return
	}
	if s.request.Limits == nil {
		s.request.Limits = &pb.Limits{}
	}
	limits, limit := s.request.Limits, timeLimit(timeout)
	if limits.TimeLimit == nil || limits.TimeLimit.AsDuration() > limit {
		limits.TimeLimit = durationpb.New(limit)
		s.failsAtTimeLimit = limits.DeadlineAction != pb.DeadlineAction_DEADLINE_ACTION_FINISH_PARTIAL
	}
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
		s.limitTime()
		defer s.leave()
		for s.Finished == nil {
			failure, left := s.read(yield)
			if left {
				return
			}
			if s.Finished == nil {
				if err := s.next(failure); err != nil {
					yield(nil, s.fail(err))
					return
				}
			}
		}
		if err := s.outcome(); err != nil {
			yield(nil, s.fail(err))
		}
	}
}

// read makes one call and reads it to its end; left tells that the reader left the loop.
func (s *Stream) read(yield func(*pb.StreamTokensResponse, error) bool) (failure *Error, left bool) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	call, err := s.open(ctx)
	if err != nil {
		return decode(err), false
	}
	for {
		message, err := call.Recv()
		if err == io.EOF {
			return nil, false
		}
		if err != nil {
			return decode(err), false
		}
		before := s.Sequence
		isNew, failure := s.add(message)
		if failure != nil {
			return failure, false
		}
		if s.Sequence != before {
			s.attempts = 0
		}
		if isNew && !yield(message, nil) {
			return nil, true
		}
		if s.Finished != nil {
			time.AfterFunc(trailersTimeout, cancel)
			_, _ = call.Recv()
			return nil, false
		}
	}
}

func (s *Stream) open(ctx context.Context) (grpc.ServerStreamingClient[pb.StreamTokensResponse], error) {
	s.cursor = s.Sequence
	s.resuming = s.request == nil || s.Sequence > 0
	if s.resuming {
		request := &pb.ResumeTokensRequest{GenerationId: s.GenerationID, AfterSequence: s.Sequence}
		return s.client.RPC.ResumeTokens(ctx, request)
	}
	return s.client.RPC.StreamTokens(ctx, s.request)
}

// next does what follows a call that ended without `finished`, waits included; an error ends the stream.
func (s *Stream) next(failure *Error) *Error {
	if cause := s.ctx.Err(); cause != nil && (failure == nil || failure.Reason == "") {
		return contextEnded(cause)
	}
	begun := s.Sequence > s.after
	switch nextStep(failure, situation{resuming: s.resuming, begun: begun, brought: s.Sequence > s.cursor}) {
	case reconnect:
		return s.reconnect(failure)
	case ask:
		return s.ask()
	case retry:
		return s.retry(failure)
	case lost:
		// Nothing had been generated that the reader has: the server has forgotten the generation, as after a crash.
		if failure.Reason == "GENERATION_NOT_FOUND" && !s.hasOutput && s.request != nil && s.retries < s.client.Policy.RetryAttempts {
			s.Answer = Answer{}
			return s.retry(failure)
		}
		return generationLost(failure)
	}
	return failure
}

func (s *Stream) reconnect(failure *Error) *Error {
	policy := s.client.Policy
	if failure == nil {
		failure = &Error{Code: codes.Unavailable, Message: "the stream ended without the generation's end"}
	}
	if !s.resumable || s.attempts >= policy.Attempts || failure.RetryDelay > policy.MaxRetryDelay {
		return s.giveUp(failure)
	}
	delay := policy.backoff(s.attempts, rand.Float64()) + max(0, failure.RetryDelay)
	if s.isLate(delay) {
		return tooLate(failure)
	}
	s.attempts++
	s.Resumes++
	s.unsure = true
	return s.wait(delay)
}

// giveUp keeps the server's own error where it gave a reason, and gRPC's for a server that was never reached.
func (s *Stream) giveUp(failure *Error) *Error {
	begun := s.Sequence > s.after
	if failure.Reason != "" || !begun && failure.Code == codes.Unavailable {
		return failure
	}
	if begun && s.resumable {
		return connectionLost(failure, s.attempts, pb.RetryAdvice_RETRY_ADVICE_RESUME)
	}
	return connectionLost(failure, s.attempts, pb.RetryAdvice_RETRY_ADVICE_RETRY)
}

// ask finds out how a generation ended whose stream ended well without saying so.
func (s *Stream) ask() *Error {
	generation, err := s.client.Get(s.ctx, s.GenerationID)
	if failure := new(Error); errors.As(err, &failure) {
		return s.next(failure)
	}
	if generation.GetFinished() == nil || generation.GetLastSequence() > s.Sequence {
		return s.reconnect(nil)
	}
	s.Usage, s.Finished = generation.GetUsage(), generation.GetFinished()
	return nil
}

func (s *Stream) retry(failure *Error) *Error {
	policy := s.client.Policy
	delay := policy.backoff(s.retries, rand.Float64()) + max(0, failure.RetryDelay)
	if s.retries >= policy.RetryAttempts || failure.RetryDelay > policy.MaxRetryDelay || s.isLate(delay) {
		return failure
	}
	s.retries++
	if s.ownID && !s.unsure {
		s.request.GenerationId = crand.Text()
		s.GenerationID = s.request.GenerationId
	} else {
		s.Resumes++
	}
	return s.wait(delay)
}

// outcome is what the generation's end means for the reader.
func (s *Stream) outcome() *Error {
	if failed := s.Finished.GetStatus(); failed.GetCode() != int32(codes.OK) {
		return fromStatus(status.FromProto(failed))
	}
	if s.failsAtTimeLimit && s.Finished.GetFinishReason() == pb.FinishReason_FINISH_REASON_TIME_LIMIT {
		return &Error{
			Code: codes.DeadlineExceeded, Reason: "DEADLINE_EXCEEDED",
			Advice: pb.RetryAdvice_RETRY_ADVICE_RETRY, Ended: true, Message: "the context's deadline came before the end",
		}
	}
	return nil
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

func (s *Stream) isLate(delay time.Duration) bool {
	deadline, ok := s.ctx.Deadline()
	return ok && delay >= time.Until(deadline)
}

func (s *Stream) wait(delay time.Duration) *Error {
	select {
	case <-time.After(delay):
		return nil
	case <-s.ctx.Done():
		return contextEnded(s.ctx.Err())
	}
}
