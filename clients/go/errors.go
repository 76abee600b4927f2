package tokengrpc

import (
	"context"
	"fmt"
	"strings"
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
	// itself adds those of clients/error_texts.json, such as CONNECTION_LOST.
	Reason string
	// Message says what happened, and what to do.
	Message string
	// Advice is what to do next; unspecified if the server sent none, or one that this client does not know.
	Advice pb.RetryAdvice
	// Ended is whether the generation itself has ended.
	Ended bool
	// GenerationID is the id of the generation.
	GenerationID string
	// LastSequence is the last event that the client received.
	LastSequence int32
	// Cursor is the position from which Client.Resume goes on; the zero value for calls that read no stream.
	Cursor Cursor
	// Usage is the usage of the generation; nil if unknown.
	Usage *pb.Usage
	// RetryDelay is the delay before a retry that the server requests.
	RetryDelay time.Duration
	// Violations are the invalid fields of the request.
	Violations []*errdetails.BadRequest_FieldViolation

	stopped bool // the caller's own context was cancelled
}

// Error returns one line: the reason, what happened, what to do.
func (e *Error) Error() string {
	name := e.Reason
	if name == "" {
		name = code.Code(e.Code).String()
	}
	line := name + ": " + e.Message
	switch {
	case e.Advice == pb.RetryAdvice_RETRY_ADVICE_RESUME && e.Cursor != Cursor{}:
		return fmt.Sprintf("%s (cursor %s)", line, e.Cursor)
	case e.Reason == "" && e.Code == codes.Unavailable:
		return line + "; " + unreachable(e.Message)
	}
	return line
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
	if e.Reason == "" && strings.Contains(e.Message, "keepalive ping failed to receive ACK") {
		e.Message = errorTexts["server frozen"]
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
