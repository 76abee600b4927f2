package tokengrpc

import (
	"testing"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc/codes"
)

const (
	unspecified = pb.RetryAdvice_RETRY_ADVICE_UNSPECIFIED
	adviseRetry = pb.RetryAdvice_RETRY_ADVICE_RETRY
	adviseNever = pb.RetryAdvice_RETRY_ADVICE_NEVER
	resume      = pb.RetryAdvice_RETRY_ADVICE_RESUME
)

func TestNextStep(t *testing.T) {
	var (
		first    = situation{}
		midway   = situation{begun: true}
		resumed  = situation{resuming: true, begun: true}
		attached = situation{resuming: true, readOnly: true}
		reading  = situation{resuming: true, begun: true, readOnly: true}
	)
	lib := func(code codes.Code) *Error { return &Error{Code: code} }
	for _, row := range []struct {
		name    string
		failure *Error
		at      situation
		want    step
	}{
		{"OK before anything", nil, first, reconnect},
		{"OK midway", nil, midway, reconnect},
		{"OK after a resume", nil, resumed, reconnect},
		{"OK where nothing was left to read", nil, attached, end},
		{"OK of a reader who got something", nil, reading, reconnect},
		{"connection refused", lib(codes.Unavailable), first, reconnect},
		{"connection reset", lib(codes.Unavailable), midway, reconnect},
		{"stream reset", lib(codes.Canceled), midway, reconnect},
		{"proxy's 502", lib(codes.Internal), midway, reconnect},
		{"proxy's own word", lib(codes.Unknown), resumed, reconnect},
		{"local deadline", lib(codes.DeadlineExceeded), midway, raise},
		{"unknown method", lib(codes.Unimplemented), first, raise},
		{"advice to resume", told("READER_TOO_SLOW", resume), midway, reconnect},
		{"advice to resume, unknown reason", told("NEWER", resume), resumed, reconnect},
		{"overloaded at first", told("OVERLOADED", adviseRetry), first, callAgain},
		{"draining at first", told("DRAINING", adviseRetry), first, callAgain},
		{"over quota at first", told("QUOTA_EXCEEDED", adviseRetry), first, callAgain},
		{"store away at first", told("STORE_UNAVAILABLE", adviseRetry), first, callAgain},
		{"store away while resuming", told("STORE_UNAVAILABLE", adviseRetry), resumed, callAgain},
		{"store away midway is billed", told("STORE_UNAVAILABLE", adviseRetry), midway, raise},
		{"ended without an event", &Error{Reason: "STORE_UNAVAILABLE", Advice: adviseRetry, Ended: true}, first, raise},
		{"engine away at first", told("ENGINE_UNAVAILABLE", adviseRetry), first, retry},
		{"never, at first", told("OVERLOADED", adviseNever), first, raise},
		{"overloaded while resuming", told("OVERLOADED", adviseRetry), resumed, callAgain},
		{"drained to the end while resuming", &Error{Reason: "DRAINING", Advice: adviseRetry, Ended: true}, resumed, raise},
		{"overloaded for good while resuming", told("OVERLOADED", adviseNever), resumed, callAgain},
		{"engine away for good", told("ENGINE_UNAVAILABLE", adviseNever), first, raise},
		{"engine away, and the generation has ended", &Error{Reason: "ENGINE_UNAVAILABLE", Advice: adviseRetry, Ended: true}, first, raise},
		{"engine away while resuming", told("ENGINE_UNAVAILABLE", adviseRetry), resumed, raise},
		{"engine lost midway is billed", told("ENGINE_LOST", adviseRetry), midway, raise},
		{"engine stalled before anything is not repeated", told("ENGINE_STALLED", adviseRetry), first, raise},
		{"forgotten while resuming", told("GENERATION_NOT_FOUND", adviseNever), resumed, lost},
		{"events forgotten while resuming", told("REPLAY_EXPIRED", adviseNever), resumed, lost},
		{"cursor beyond a new life's events", told("SEQUENCE_OUT_OF_RANGE", adviseNever), resumed, lost},
		{"no such generation to read", told("GENERATION_NOT_FOUND", adviseNever), attached, raise},
		{"wrong request", told("INVALID_REQUEST", adviseNever), first, raise},
		{"no reason but an advice", told("", adviseRetry), first, raise},
		{"a reason without advice", told("OVERLOADED", unspecified), first, reconnect},
		{"a reason without advice, other code", &Error{Code: codes.NotFound, Reason: "NEWER"}, resumed, raise},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := nextStep(row.failure, row.at); got != row.want {
				t.Errorf("step %d, want %d", got, row.want)
			}
		})
	}
}

func TestBackoffGrowsToItsBoundWithFullJitter(t *testing.T) {
	for attempt, most := range []time.Duration{50, 100, 200, 400, 800, 1000, 1000} {
		most *= time.Millisecond
		if got := DefaultPolicy.backoff(attempt, 1); got != most {
			t.Errorf("attempt %d: at most %v, want %v", attempt, got, most)
		}
		if got := DefaultPolicy.backoff(attempt, 0); got != 0 {
			t.Errorf("attempt %d: at least %v, want 0", attempt, got)
		}
	}
}

func TestPatienceEnds(t *testing.T) {
	failing := time.Unix(1_000, 0)
	after := func(seconds int) time.Time { return failing.Add(time.Duration(seconds) * time.Second) }
	for _, row := range []struct {
		name     string
		patience time.Duration
		deadline time.Time
		want     time.Time
	}{
		{"after a minute by default", 0, time.Time{}, after(60)},
		{"with the deadline, however far", 0, after(600), after(600)},
		{"with the deadline, however near", 0, after(5), after(5)},
		{"as the caller sets it", 10 * time.Second, time.Time{}, after(10)},
		{"as the caller sets it, before the deadline", 10 * time.Second, after(600), after(10)},
		{"with the deadline, before the caller's", 10 * time.Second, after(5), after(5)},
		{"at once", -time.Second, time.Time{}, after(-1)},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := (Policy{Patience: row.patience}).patienceEnd(failing, row.deadline); !got.Equal(row.want) {
				t.Errorf("ends %v after the failure, want %v", got.Sub(failing), row.want.Sub(failing))
			}
		})
	}
}
