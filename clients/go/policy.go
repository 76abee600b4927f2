package tokengrpc

import (
	"math"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc/codes"
)

// This file decides and does nothing: no I/O, no clock, no randomness.

// Policy bounds a client's patience.
type Policy struct {
	// Attempts are calls in a row that bring nothing new, after which a broken connection is given up.
	Attempts int
	// RetryAttempts are further starts of a generation that was turned away before it began.
	RetryAttempts int
	// Waits grow from InitialBackoff by BackoffFactor up to MaxBackoff, each drawn between 0 and that (full jitter); what
	// the server asks for (RetryInfo) is added.
	InitialBackoff, MaxBackoff time.Duration
	BackoffFactor              float64
	// MaxRetryDelay is the longest wait that the server may ask for; beyond it its refusal is returned instead.
	MaxRetryDelay time.Duration
	// CancelTimeout bounds the CancelGeneration of a reader who stops.
	CancelTimeout time.Duration
}

// DefaultPolicy is every language's.
var DefaultPolicy = Policy{
	Attempts:       6,
	RetryAttempts:  2,
	InitialBackoff: 50 * time.Millisecond,
	MaxBackoff:     2 * time.Second,
	BackoffFactor:  2,
	MaxRetryDelay:  30 * time.Second,
	CancelTimeout:  5 * time.Second,
}

// backoff is the wait before an attempt, counted from 0; random is from 0 to 1.
func (p Policy) backoff(attempt int, random float64) time.Duration {
	grown := float64(p.InitialBackoff) * math.Pow(p.BackoffFactor, float64(attempt))
	return time.Duration(random * min(float64(p.MaxBackoff), grown))
}

// step is what follows a call that ended without `finished`.
type step int

const (
	raise     step = iota // give up
	reconnect             // the same generation again, after the cursor
	end                   // it had ended well where reading began
	retry                 // another start: this one never began
	lost                  // the rest is no longer kept
)

// situation is what the policy looks at beside the failure.
type situation struct {
	resuming bool // the call was ResumeTokens
	begun    bool // some event has arrived, in this call or before
	readOnly bool // the stream only reads what another call started
}

// nextStep decides; the failure is nil when the call ended with OK. What was generated is billed, so nothing is repeated
// unasked.
func nextStep(failure *Error, s situation) step {
	switch {
	case failure == nil && s.readOnly && !s.begun:
		return end // its cursor was that of `finished`
	case failure == nil, failure.Advice == pb.RetryAdvice_RETRY_ADVICE_RESUME:
		return reconnect
	case failure.Reason == "" && failure.Advice == pb.RetryAdvice_RETRY_ADVICE_UNSPECIFIED:
		if broken(failure.Code) {
			return reconnect
		}
		return raise
	case s.resuming && s.begun && notKept(failure.Reason):
		return lost
	case s.resuming && turnedAway(failure.Reason) && !failure.Ended:
		return reconnect
	case !s.resuming && !s.begun && !failure.Ended && mayRetry(failure.Advice) && (turnedAway(failure.Reason) || failure.Reason == "ENGINE_UNAVAILABLE"):
		return retry
	}
	return raise
}

// broken tells the codes that gRPC makes of a connection that broke: reset, refused, closed in the middle, a proxy's own
// reset.
func broken(code codes.Code) bool {
	return code == codes.Unavailable || code == codes.Canceled || code == codes.Internal || code == codes.Unknown
}

func turnedAway(reason string) bool {
	return reason == "OVERLOADED" || reason == "DRAINING" || reason == "QUOTA_EXCEEDED" || reason == "STORE_UNAVAILABLE"
}

func notKept(reason string) bool {
	return reason == "GENERATION_NOT_FOUND" || reason == "REPLAY_EXPIRED" || reason == "SEQUENCE_OUT_OF_RANGE"
}

// mayRetry takes an advice that only a newer server knows for NEVER, as the contract says.
func mayRetry(advice pb.RetryAdvice) bool {
	return advice == pb.RetryAdvice_RETRY_ADVICE_UNSPECIFIED || advice == pb.RetryAdvice_RETRY_ADVICE_RETRY
}
