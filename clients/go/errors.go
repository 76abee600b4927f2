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

// Error is a failed call, with all details that the server sent. Use errors.As on the errors that streams yield.
// errors.Is matches context.DeadlineExceeded, and context.Canceled if the caller's own context was cancelled.
type Error struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Reason is the contract's failure reason, such as ENGINE_LOST; empty if gRPC or a proxy failed the call. The client
	// itself adds three: CONNECTION_LOST, GENERATION_LOST (the server no longer has the rest) and STREAM_GAP.
	Reason string
	// Message says what happened.
	Message string
	// Advice is what to do next; unspecified if the server sent none, or one that this client does not know.
	Advice pb.RetryAdvice
	// Ended is whether the generation itself has ended.
	Ended bool
	// GenerationID is the id of the generation.
	GenerationID string
	// LastSequence is the last event that the client received: the cursor for Resume.
	LastSequence int32
	// Usage is the usage of the generation; nil if unknown.
	Usage *pb.Usage
	// RetryDelay is the delay before a retry that the server requests.
	RetryDelay time.Duration
	// Violations are the invalid fields of the request.
	Violations []*errdetails.BadRequest_FieldViolation

	stopped bool // the caller's own context was cancelled
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
		return fmt.Sprintf("%s: %s (retry under a new id)", name, e.Message)
	}
	return name + ": " + e.Message
}

// Is lets errors.Is match the errors of contexts.
func (e *Error) Is(target error) bool {
	return target == context.DeadlineExceeded && e.Code == codes.DeadlineExceeded || target == context.Canceled && e.stopped
}

// GRPCStatus lets status.Code and status.Convert read the error.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Error()) }

// decode converts the error of a failed call, with all details of its trailers that can be decoded.
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
			e.Advice, e.Ended = knownAdvice(detail.GetRetryAdvice()), detail.GetEnded()
			e.GenerationID, e.LastSequence, e.Usage = detail.GetGenerationId(), detail.GetLastSequence(), detail.GetUsage()
		}
	}
	return e
}

// knownAdvice returns the advice, or unspecified for advice of a newer server, which counts as missing.
func knownAdvice(advice pb.RetryAdvice) pb.RetryAdvice {
	if _, known := pb.RetryAdvice_name[int32(advice)]; known {
		return advice
	}
	return pb.RetryAdvice_RETRY_ADVICE_UNSPECIFIED
}

// contextEnded returns the error for a caller whose own context has ended.
func contextEnded(cause error) *Error {
	return &Error{Code: status.FromContextError(cause).Code(), Message: cause.Error(), stopped: cause == context.Canceled}
}

// connectionLost returns the error for a broken connection that could not be resumed.
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

// generationLost returns the error for a broken connection after which the server no longer has the following events.
func generationLost(failure *Error) *Error {
	return &Error{
		Code: failure.Code, Reason: "GENERATION_LOST", Advice: pb.RetryAdvice_RETRY_ADVICE_RETRY, Ended: failure.Ended,
		Message: "the connection broke and the server no longer has the following events (" + failure.Message + ")",
	}
}
