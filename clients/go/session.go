package tokengrpc

import (
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// session is the state machine of one stream: which call comes next, when, and how the stream ends. It does no I/O; times
// and random numbers are passed in.
type session struct {
	answer   *Answer
	id       string
	policy   Policy
	deadline time.Time // zero: none
	after    int32     // the sequence at which reading began
	readOnly bool      // reads a generation that another call started
	// resumable streams resume after a dropped connection.
	resumable bool
	// cancels is whether the generation is cancelled when the caller stops.
	cancels bool

	called     bool      // a call has been made
	resuming   bool      // the last call is ResumeTokens
	failing    time.Time // when the first call of the current row of failures ended; zero without failures
	reconnects int       // in this row
	elsewhere  bool      // another replica was tried at once, in this row
	frozen     bool      // the server has stopped answering, since a call in this row
	retries    int       // in the whole stream
	failed     *Error
}

// verdict is what follows the end of a call: another call after a delay, or the end of the stream, with or without an error.
type verdict struct {
	again bool
	delay time.Duration
	err   *Error
}

// resume chooses the next call: ResumeTokens with the returned request, or StreamTokens if it is nil.
func (s *session) resume() *pb.ResumeTokensRequest {
	s.called = true
	s.resuming = s.readOnly || s.answer.Sequence > 0
	if !s.resuming {
		return nil
	}
	cursor := s.answer.cursor(s.id)
	request := &pb.ResumeTokensRequest{
		GenerationId: cursor.GenerationID, AfterSequence: cursor.Sequence, LogIncarnation: cursor.LogIncarnation,
	}
	if cursor.HasChecksum {
		request.OutputChecksum = &cursor.Checksum
	}
	return request
}

// receive adds a message and returns whether it is new. A new event or a heartbeat ends a row of failures.
func (s *session) receive(message *pb.StreamTokensResponse) (bool, *Error) {
	before := s.answer.Sequence
	isNew, err := s.answer.add(message)
	if s.answer.Sequence != before || message.GetHeartbeat() != nil {
		s.failing, s.reconnects, s.elsewhere, s.frozen = time.Time{}, 0, false, false
	}
	return isNew, err
}

// ended returns what follows a call. failure is nil if the call ended with OK.
func (s *session) ended(failure *Error, now time.Time, random float64) verdict {
	if finished := s.answer.Finished; finished != nil {
		if finished.GetStatus().GetCode() != int32(codes.OK) {
			return s.fail(fromStatus(status.FromProto(finished.GetStatus())))
		}
		return verdict{}
	}
	if s.failing.IsZero() {
		s.failing = now
	}
	if failure == nil {
		s.frozen = false
	} else if s.frozen = frozen(failure, s.frozen); s.frozen {
		failure.Message = errorTexts["server frozen"]
	}
	switch nextStep(failure, situation{resuming: s.resuming, begun: s.begun(), readOnly: s.readOnly}) {
	case end:
		s.cancels = false
		return verdict{}
	case reconnect:
		if failure == nil {
			failure = withoutFinished()
		}
		if !s.resumable {
			return s.fail(s.connectionError(failure))
		}
		return s.reconnect(failure, now, random)
	case callAgain:
		return s.reconnect(failure, now, random)
	case retry:
		if s.retries < s.policy.RetryAttempts {
			return s.again(&s.retries, failure, failure, now, random)
		}
	case lost:
		// Start again only if no output has arrived and the server no longer has the generation, as after a crash.
		forgotten := failure.Reason == "GENERATION_NOT_FOUND" && !s.answer.output.begun
		if !forgotten || s.readOnly || s.retries >= s.policy.RetryAttempts {
			return s.fail(generationLost(failure))
		}
		next := s.again(&s.retries, failure, generationLost(failure), now, random)
		if next.again {
			*s.answer = Answer{}
		}
		return next
	}
	return s.fail(failure)
}

func (s *session) reconnect(failure *Error, now time.Time, random float64) verdict {
	otherwise := s.connectionError(failure)
	if concernsServer(failure.Reason) && !s.elsewhere {
		s.elsewhere = true
		return s.wait(0, failure, otherwise, now)
	}
	return s.again(&s.reconnects, failure, otherwise, now, random)
}

// again returns the delay before the next call, counted by `done`. The stream fails with `otherwise` if the delay is too long.
func (s *session) again(done *int, failure, otherwise *Error, now time.Time, random float64) verdict {
	delay := s.policy.backoff(*done, random) + max(0, failure.RetryDelay)
	*done++
	return s.wait(delay, failure, otherwise, now)
}

// wait returns a delay, unless it or the one that the server requests is too long.
func (s *session) wait(delay time.Duration, failure, otherwise *Error, now time.Time) verdict {
	end := s.policy.patienceEnd(s.failing, s.deadline)
	if failure.RetryDelay > s.policy.MaxRetryDelay || !now.Add(delay).Before(end) {
		return s.fail(otherwise)
	}
	return verdict{again: true, delay: delay}
}

func (s *session) begun() bool { return s.answer.Sequence > s.after }

// connectionError returns the call's own error if it has a reason or no server was reachable, otherwise CONNECTION_LOST.
func (s *session) connectionError(failure *Error) *Error {
	if failure.Reason != "" || !s.begun() && failure.Code == codes.Unavailable {
		return failure
	}
	return connectionLost(failure, s.begun() && s.resumable)
}

// fail ends the stream with an error, and adds the stream's id, usage and cursor to it. The cursor replaces the server's,
// which may be ahead of it.
func (s *session) fail(err *Error) verdict {
	if err.GenerationID == "" {
		err.GenerationID = s.id
	}
	if err.Usage == nil {
		err.Usage = s.answer.Usage
	}
	err.LastSequence, err.Cursor = s.answer.Sequence, s.answer.cursor(s.id)
	s.failed = err
	return verdict{err: err}
}

// mustCancel reports whether the generation may still run although its reader will not resume it.
func (s *session) mustCancel() bool {
	if !s.cancels || !s.called || s.answer.Finished != nil {
		return false
	}
	switch err := s.failed; {
	case err == nil, err.stopped, err.Reason == "STREAM_GAP", err.Reason == "CHECKSUM_MISMATCH":
		return true
	default:
		return err.Code == codes.DeadlineExceeded && !err.Ended
	}
}
