package tokengrpc

import (
	"strings"
	"testing"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc/codes"
)

var start = time.Unix(1_000, 0)

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

func newSession(change func(*session)) *session {
	s := &session{answer: &Answer{}, id: "chat-7", policy: DefaultPolicy, resumable: true, cancels: true}
	if change != nil {
		change(s)
	}
	s.resume()
	return s
}

func (s *session) mustReceive(t *testing.T, messages ...*pb.StreamTokensResponse) {
	t.Helper()
	for _, message := range messages {
		if _, err := s.receive(message); err != nil {
			t.Fatal(err)
		}
	}
}

func started() *pb.StreamTokensResponse {
	event := &pb.StreamTokensResponse_Started{Started: &pb.Started{LogIncarnation: "k3Jq0wXb"}}
	return &pb.StreamTokensResponse{Sequence: 1, Event: event}
}

func heartbeat() *pb.StreamTokensResponse {
	return &pb.StreamTokensResponse{Notice: &pb.StreamTokensResponse_Heartbeat{Heartbeat: &pb.Heartbeat{}}}
}

func gone() *Error { return &Error{Code: codes.Unavailable, Message: "connection reset"} }

func told(reason string, advice pb.RetryAdvice) *Error {
	return &Error{Code: codes.Unavailable, Reason: reason, Advice: advice, Message: "the server is full; try again later"}
}

func TestReconnectingGoesOnAsLongAsPatienceLasts(t *testing.T) {
	s := newSession(nil)
	s.mustReceive(t, started())
	for second := 0.0; second < 57; second++ {
		if got := s.ended(gone(), at(second), 1); !got.again {
			t.Fatalf("gave up after %v s: %v", second, got.err)
		}
		s.resume()
	}
	got := s.ended(gone(), at(59.5), 1)
	if got.again || got.err.Reason != "CONNECTION_LOST" || got.err.Advice != resume || got.err.LastSequence != 1 {
		t.Errorf("%v", got.err)
	}
	if line := got.err.Error(); !strings.HasSuffix(line, "; resume with the cursor (cursor tg1.1..k3Jq0wXb.chat-7)") {
		t.Error(line)
	}
	want := "the connection broke and could not be resumed (connection reset); resume with the cursor"
	if got.err != nil && got.err.Message != want {
		t.Errorf("%q", got.err.Message)
	}
}

func TestANewEventOrAHeartbeatRenewsPatience(t *testing.T) {
	attached := &pb.StreamTokensResponse{Notice: &pb.StreamTokensResponse_Attached{Attached: &pb.Attached{}}}
	for _, row := range []struct {
		name    string
		message *pb.StreamTokensResponse
		again   bool
	}{{"event", tokens(2, 0, "a"), true}, {"heartbeat", heartbeat(), true}, {"other notice", attached, false}} {
		t.Run(row.name, func(t *testing.T) {
			s := newSession(nil)
			s.mustReceive(t, started())
			s.ended(gone(), at(0), 1)
			s.mustReceive(t, row.message)
			if got := s.ended(gone(), at(70), 1); got.again != row.again {
				t.Errorf("again: %v", got.again)
			}
		})
	}
}

func TestDelaysGrowUntilANewEvent(t *testing.T) {
	s := newSession(nil)
	s.mustReceive(t, started())
	for _, want := range []time.Duration{50, 100, 200} {
		if got := s.ended(gone(), at(0), 1); got.delay != want*time.Millisecond {
			t.Errorf("%v, want %d ms", got.delay, want)
		}
	}
	s.mustReceive(t, tokens(2, 0, "a"))
	if got := s.ended(gone(), at(1), 1); got.delay != 50*time.Millisecond {
		t.Errorf("%v after an event", got.delay)
	}
}

func TestADelayEndsBeforeTheDeadline(t *testing.T) {
	s := newSession(func(s *session) { s.deadline = at(10) })
	s.mustReceive(t, started())
	full := told("QUOTA_EXCEEDED", adviseRetry)
	full.RetryDelay = 9 * time.Second
	s.resume()
	if got := s.ended(full, at(0), 0); !got.again || got.delay != 9*time.Second {
		t.Errorf("%+v", got)
	}
	if got := s.ended(full, at(1), 0); got.again || got.err.Reason != "QUOTA_EXCEEDED" {
		t.Errorf("%+v", got)
	}
}

func TestAnotherReplicaIsTriedAtOnce(t *testing.T) {
	for _, reason := range []string{"OVERLOADED", "DRAINING"} {
		s := newSession(nil)
		full := told(reason, adviseRetry)
		full.RetryDelay = 3 * time.Second
		for _, want := range []time.Duration{0, 3050, 3100} {
			if got := s.ended(full, at(0), 1); !got.again || got.delay != want*time.Millisecond {
				t.Errorf("%s: %+v, want %d ms", reason, got, want)
			}
		}
		s.mustReceive(t, started())
		s.resume()
		if got := s.ended(full, at(1), 1); !got.again || got.delay != 0 {
			t.Errorf("%s: %+v after an event", reason, got)
		}
	}
}

func TestALongerDelayThanTheLimitIsNotWaitedFor(t *testing.T) {
	s := newSession(nil)
	full := told("OVERLOADED", adviseRetry)
	full.RetryDelay = 31 * time.Second
	if got := s.ended(full, at(0), 0); got.again || got.err != full {
		t.Errorf("%+v", got)
	}
}

func TestARejectedStartIsRepeatedEvenIfNotResumable(t *testing.T) {
	s := newSession(func(s *session) { s.resumable, s.cancels = false, false })
	for second := 0.0; second < 50; second++ {
		if got := s.ended(told("DRAINING", adviseRetry), at(second), 1); !got.again {
			t.Fatalf("gave up after %v s", second)
		}
	}
	s.mustReceive(t, started())
	got := s.ended(gone(), at(51), 0)
	if got.again || got.err.Reason != "CONNECTION_LOST" || got.err.Advice != adviseRetry {
		t.Errorf("%+v", got)
	}
	if want := "the connection broke (connection reset); start again under a new id"; got.err.Message != want {
		t.Errorf("%q", got.err.Message)
	}
}

func TestStartsOfAnAbsentEngineAreCounted(t *testing.T) {
	s := newSession(nil)
	for range DefaultPolicy.RetryAttempts {
		if got := s.ended(told("ENGINE_UNAVAILABLE", adviseRetry), at(0), 0); !got.again {
			t.Fatal("not repeated")
		}
	}
	if got := s.ended(told("ENGINE_UNAVAILABLE", adviseRetry), at(0), 0); got.again || got.err.Reason != "ENGINE_UNAVAILABLE" {
		t.Errorf("%+v", got)
	}
}

func TestNothingReachableIsTheCallsOwnError(t *testing.T) {
	s := newSession(func(s *session) { s.policy.Patience = -1 })
	refused := gone()
	got := s.ended(refused, at(0), 0)
	if got.err != refused {
		t.Fatalf("%+v", got)
	}
	if line := got.err.Error(); line != "UNAVAILABLE: connection reset; check that the server is running at this address" {
		t.Error(line)
	}
}

func TestALostGenerationStartsAgainOnlyWithoutOutput(t *testing.T) {
	forgotten := told("GENERATION_NOT_FOUND", adviseNever)
	s := newSession(nil)
	s.mustReceive(t, started())
	s.resume()
	if got := s.ended(forgotten, at(0), 0); !got.again || s.answer.Sequence != 0 || s.resume() != nil {
		t.Errorf("%+v at %d", got, s.answer.Sequence)
	}
	s.mustReceive(t, started(), tokens(2, 0, "a"))
	s.resume()
	got := s.ended(forgotten, at(0), 0)
	want := "the connection broke and the server no longer has the remaining events (the server is full); start again under a new id"
	if got.again || got.err.Reason != "GENERATION_LOST" || got.err.Message != want || s.answer.Sequence != 2 {
		t.Errorf("%+v at %d", got, s.answer.Sequence)
	}
}

func TestALostGenerationThatCannotStartAgainKeepsItsCursor(t *testing.T) {
	s := newSession(func(s *session) { s.policy.Patience = -1 })
	s.mustReceive(t, started())
	s.resume()
	got := s.ended(told("GENERATION_NOT_FOUND", adviseNever), at(0), 0)
	if got.again || got.err.Reason != "GENERATION_LOST" || got.err.LastSequence != 1 || s.answer.Started == nil {
		t.Errorf("%+v", got)
	}
}

func TestResumingSendsWhatIsKnown(t *testing.T) {
	s := newSession(nil)
	if request := s.resume(); request != nil {
		t.Errorf("before any event: %v", request)
	}
	s.mustReceive(t, started())
	if request := s.resume(); request.OutputChecksum != nil || request.LogIncarnation != "k3Jq0wXb" || request.AfterSequence != 1 {
		t.Errorf("before any output: %v", request)
	}
	s.mustReceive(t, tokens(2, 0, "a"))
	if request := s.resume(); request.OutputChecksum == nil || request.GetOutputChecksum() != 0xe8b7be43 {
		t.Errorf("after output: %v", request)
	}
}

func TestAFrozenServerIsNamed(t *testing.T) {
	unanswered := func() *Error {
		return &Error{Code: codes.Unavailable, Message: `connection error: desc = "error reading server preface: read: use of closed network connection"`}
	}
	s := newSession(func(s *session) { s.policy.Patience = 10 * time.Second })
	s.mustReceive(t, started())
	s.ended(&Error{Code: codes.Unavailable, Message: errorTexts["server frozen"]}, at(0), 0)
	s.ended(unanswered(), at(5), 0)
	got := s.ended(unanswered(), at(10), 0)
	want := "the connection broke and could not be resumed (the server did not answer a keepalive ping for 5 s); resume with the cursor"
	if got.again || got.err.Message != want {
		t.Errorf("%+v", got)
	}
}

func TestWhoCancelsTheGeneration(t *testing.T) {
	finished := &pb.StreamTokensResponse{Sequence: 2, Event: &pb.StreamTokensResponse_Finished{Finished: &pb.Finished{}}}
	deadline := func(ended bool) *Error { return &Error{Code: codes.DeadlineExceeded, Ended: ended} }
	for _, row := range []struct {
		name   string
		change func(*session)
		want   bool
	}{
		{"a reader that leaves", func(*session) {}, true},
		{"a reader that has made no call", func(s *session) { s.called = false }, false},
		{"a reader of a stream that is not resumable, or read-only", func(s *session) { s.cancels = false }, false},
		{"a reader at the end", func(s *session) { _, _ = s.receive(started()); _, _ = s.receive(finished) }, false},
		{"a reader that comes after the end", func(s *session) { s.readOnly = true; s.resume(); s.ended(nil, at(0), 0) }, false},
		{"a gap", func(s *session) { s.fail(gap("one")) }, true},
		{"other output", func(s *session) { s.fail(dataLoss("CHECKSUM_MISMATCH", "one")) }, true},
		{"a deadline", func(s *session) { s.fail(deadline(false)) }, true},
		{"a deadline that ended the generation", func(s *session) { s.fail(deadline(true)) }, false},
		{"a lost connection", func(s *session) { s.fail(connectionLost(gone(), true)) }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newSession(nil)
			row.change(s)
			if got := s.mustCancel(); got != row.want {
				t.Errorf("cancels: %v", got)
			}
		})
	}
}
