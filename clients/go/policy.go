package tokengrpc

import (
	"cmp"
	"math"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc/codes"
)

// This file contains pure functions: no I/O, no clock, no randomness.

// Policy bounds reconnecting and retrying.
type Policy struct {
	// Patience is how long reconnecting goes on without a new event or a heartbeat, from the end of the first failed call.
	// 0: until the deadline of the stream's context, or for 60 s without one. Negative: no reconnecting.
	Patience time.Duration
	// RetryAttempts is the number of further starts after ENGINE_UNAVAILABLE or a lost generation.
	RetryAttempts int
	// The backoff grows from InitialBackoff by BackoffFactor up to MaxBackoff. Each delay is drawn between 0 and the
	// current backoff (full jitter). The delay that the server requests in RetryInfo is added. Only the first call after
	// OVERLOADED or DRAINING is made at once, because it goes to another replica if there is one.
	InitialBackoff, MaxBackoff time.Duration
	BackoffFactor              float64
	// MaxRetryDelay is the longest delay that the server may request. If it requests more, the stream fails instead.
	MaxRetryDelay time.Duration
	// CancelTimeout is the timeout of CancelGeneration when a caller stops reading.
	CancelTimeout time.Duration
}

// DefaultPolicy has the same values as in the clients of the other languages.
var DefaultPolicy = Policy{
	RetryAttempts:  2,
	InitialBackoff: 50 * time.Millisecond,
	MaxBackoff:     time.Second,
	BackoffFactor:  2,
	MaxRetryDelay:  30 * time.Second,
	CancelTimeout:  5 * time.Second,
}

// defaultPatience applies if neither the policy nor the caller's deadline limits reconnecting.
const defaultPatience = 60 * time.Second

// patienceEnd returns when reconnecting ends. A zero deadline is none.
func (p Policy) patienceEnd(failing, deadline time.Time) time.Time {
	if p.Patience == 0 && !deadline.IsZero() {
		return deadline
	}
	end := failing.Add(cmp.Or(p.Patience, defaultPatience))
	if !deadline.IsZero() && deadline.Before(end) {
		return deadline
	}
	return end
}

// backoff returns the delay before an attempt, counted from 0. random is between 0 and 1.
func (p Policy) backoff(attempt int, random float64) time.Duration {
	grown := float64(p.InitialBackoff) * math.Pow(p.BackoffFactor, float64(attempt))
	return time.Duration(random * min(float64(p.MaxBackoff), grown))
}

// step is the step that follows a call that ended without `finished`.
type step int

const (
	raise     step = iota // return the error
	reconnect             // call again for the same generation, after the cursor
	callAgain             // the same, even if the stream is not resumable: the server rejected the call, and nothing was lost
	end                   // end normally: the generation had already finished at the cursor
	retry                 // start the generation again: the engines could not be asked
	lost                  // fail or start again: the server no longer has the following events
)

// situation is the state of the stream, which the policy needs besides the failure.
type situation struct {
	resuming bool // the call was ResumeTokens
	begun    bool // an event has arrived, in this call or an earlier one
	readOnly bool // the stream reads a generation that another call started
}

// nextStep returns the step after a call that ended without `finished`. failure is nil if the call ended with OK.
// Generated tokens are billed, so the caller decides about a repeat. Without known advice, the code alone decides.
func nextStep(failure *Error, s situation) step {
	switch {
	case failure == nil && s.readOnly && !s.begun:
		return end // its cursor was that of `finished`
	case failure == nil, failure.Advice == pb.RetryAdvice_RETRY_ADVICE_RESUME:
		return reconnect
	case failure.Advice == pb.RetryAdvice_RETRY_ADVICE_UNSPECIFIED: // missing or unknown
		if broken(failure.Code) {
			return reconnect
		}
		return raise
	case s.resuming && s.begun && forgotten(failure.Reason):
		return lost
	case failure.Ended:
		return raise
	case rejected(failure.Reason) && (s.resuming || s.canStart(failure)):
		return callAgain
	case failure.Reason == "ENGINE_UNAVAILABLE" && s.canStart(failure):
		return retry
	}
	return raise
}

// canStart reports whether StreamTokens may be called again: no generation has begun.
func (s situation) canStart(failure *Error) bool {
	return !s.resuming && !s.begun && failure.Advice != pb.RetryAdvice_RETRY_ADVICE_NEVER
}

// broken reports whether gRPC uses the code for broken connections: reset, refused, closed during a call, reset by a
// proxy.
func broken(code codes.Code) bool {
	return code == codes.Unavailable || code == codes.Canceled || code == codes.Internal || code == codes.Unknown
}

func rejected(reason string) bool {
	return reason == "OVERLOADED" || reason == "DRAINING" || reason == "QUOTA_EXCEEDED" || reason == "STORE_UNAVAILABLE"
}

// concernsServer reports whether the reason is one server's: another replica may serve the call at once.
func concernsServer(reason string) bool {
	return reason == "OVERLOADED" || reason == "DRAINING"
}

func forgotten(reason string) bool {
	return reason == "GENERATION_NOT_FOUND" || reason == "REPLAY_EXPIRED" || reason == "SEQUENCE_OUT_OF_RANGE"
}
