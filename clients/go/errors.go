package tokengrpc

import (
	"context"
	"fmt"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is why a call failed, with everything that the server told about it: errors.As finds it in what streams yield.
// errors.Is finds context.DeadlineExceeded in it, and context.Canceled where the reader's own context was cancelled.
type Error struct {
	// Code is the gRPC status.
	Code codes.Code
	// Reason is the contract's word, such as ENGINE_LOST; empty when gRPC or a proxy failed the call. Three are the
	// client's own: CONNECTION_LOST, GENERATION_LOST (the rest is no longer kept) and STREAM_GAP.
	Reason string
	// Message says what happened.
	Message string
	// Advice says what to do; unspecified when the server did not tell.
	Advice pb.RetryAdvice
	// Ended tells whether the generation itself has ended.
	Ended bool
	// GenerationID names the generation.
	GenerationID string
	// LastSequence is the last event that had arrived here: the cursor for Resume.
	LastSequence int32
	// Usage is what the generation had used; nil when not known.
	Usage *pb.Usage
	// RetryDelay is how long to wait before another try.
	RetryDelay time.Duration
	// Violations are a request's wrong fields.
	Violations []*errdetails.BadRequest_FieldViolation

	stopped bool // the reader's own context was cancelled
}

func (e *Error) Error() string {
	name := e.Reason
	if name == "" {
		name = code.Code(e.Code).String()
	}
	switch e.Advice {
	case pb.RetryAdvice_RETRY_ADVICE_RESUME:
		return fmt.Sprintf("%s: %s (resume generation %s after sequence %d)", name, e.Message, e.GenerationID, e.LastSequence)
	case pb.RetryAdvice_RETRY_ADVICE_RETRY:
		return fmt.Sprintf("%s: %s (worth another start, under a new id)", name, e.Message)
	}
	return name + ": " + e.Message
}

// Is lets errors.Is find a context's end.
func (e *Error) Is(target error) bool {
	return target == context.DeadlineExceeded && e.Code == codes.DeadlineExceeded || target == context.Canceled && e.stopped
}

// GRPCStatus lets status.Code and status.Convert read the error.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Error()) }

// decode makes an Error of a failed call's error, with the details of its trailers as far as they can be read.
func decode(err error) *Error { return fromStatus(status.Convert(err)) }

func fromStatus(s *status.Status) *Error {
	e := &Error{Code: s.Code(), Message: s.Message()}
	for _, detail := range s.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason = detail.GetReason()
		case *errdetails.RetryInfo:
			e.RetryDelay = detail.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			e.Violations = detail.GetFieldViolations()
		case *pb.GenerationFailure:
			e.Advice, e.Ended = detail.GetRetryAdvice(), detail.GetEnded()
			e.GenerationID, e.LastSequence, e.Usage = detail.GetGenerationId(), detail.GetLastSequence(), detail.GetUsage()
		}
	}
	return e
}

// contextEnded is the error of a reader whose own context ended.
func contextEnded(cause error) *Error {
	return &Error{Code: status.FromContextError(cause).Code(), Message: cause.Error(), stopped: cause == context.Canceled}
}

// connectionLost: a connection broke, and so did as many attempts to resume.
func connectionLost(failure *Error, attempts int, resumable bool) *Error {
	advice := pb.RetryAdvice_RETRY_ADVICE_RETRY
	if resumable {
		advice = pb.RetryAdvice_RETRY_ADVICE_RESUME
	}
	return &Error{
		Code: failure.Code, Reason: "CONNECTION_LOST", Advice: advice,
		Message: fmt.Sprintf("the connection broke and %d attempts to resume failed (%s)", attempts, failure.Message),
	}
}

// generationLost: after a broken connection the server no longer has what follows.
func generationLost(failure *Error) *Error {
	return &Error{
		Code: failure.Code, Reason: "GENERATION_LOST", Advice: pb.RetryAdvice_RETRY_ADVICE_RETRY, Ended: failure.Ended,
		Message: "the connection broke and the rest is gone (" + failure.Message + ")",
	}
}
