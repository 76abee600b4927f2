package tokengrpc

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc/codes"
)

// This file has the errors that the client detects itself. No server sent them.

// A copy of clients/error_texts.json: go:embed cannot reach outside the module. A test compares the two.
//
//go:embed error_texts.json
var errorTextsFile []byte

// errorTexts has the texts by reason, the same in the clients of all languages.
var errorTexts = func() map[string]string {
	texts := map[string]string{}
	if err := json.Unmarshal(errorTextsFile, &texts); err != nil {
		panic("tokengrpc: error_texts.json: " + err.Error())
	}
	return texts
}()

// errorText returns a text with its cause.
func errorText(name, cause string) string {
	return strings.Replace(errorTexts[name], "{cause}", cause, 1)
}

// causeOf returns a message without its final advice, which only a server's message has.
func causeOf(failure *Error) string {
	if end := strings.LastIndex(failure.Message, "; "); end >= 0 && failure.Reason != "" {
		return failure.Message[:end]
	}
	return failure.Message
}

// connectionLost returns the error for a broken connection that could not be resumed.
func connectionLost(failure *Error, resumable bool) *Error {
	e := &Error{Code: failure.Code, Reason: "CONNECTION_LOST"}
	if resumable {
		e.Advice, e.Message = pb.RetryAdvice_RETRY_ADVICE_RESUME, errorText("CONNECTION_LOST", causeOf(failure))
	} else {
		e.Advice, e.Message = pb.RetryAdvice_RETRY_ADVICE_RETRY, errorText("CONNECTION_LOST, not resumable", causeOf(failure))
	}
	return e
}

// generationLost returns the error for a broken connection after which the server no longer has the following events.
func generationLost(failure *Error) *Error {
	return &Error{
		Code: failure.Code, Reason: "GENERATION_LOST", Advice: pb.RetryAdvice_RETRY_ADVICE_RETRY, Ended: failure.Ended,
		Message: errorText("GENERATION_LOST", causeOf(failure)),
	}
}

// frozen reports whether a server has stopped answering on a connection. With `again`, it had stopped before: its machine
// accepts a new connection, but the server itself says nothing, and gRPC closes the connection.
func frozen(failure *Error, again bool) bool {
	unanswered := strings.Contains(failure.Message, "error reading server preface") &&
		strings.Contains(failure.Message, "use of closed network connection")
	return failure.Message == errorTexts["server frozen"] || again && unanswered
}

// withoutFinished returns the error of a call that ended with OK before the generation's end.
func withoutFinished() *Error {
	return &Error{Code: codes.Unavailable, Message: errorTexts["stream ended without finished"]}
}

// gap returns the error for events or tokens that are missing.
func gap(format string, args ...any) *Error {
	return dataLoss("STREAM_GAP", fmt.Sprintf(format, args...))
}

// dataLoss returns the error for a message that cannot follow what was received before.
func dataLoss(reason, cause string) *Error {
	return &Error{Code: codes.DataLoss, Reason: reason, Message: errorText(reason, cause)}
}

func invalidCursor(text string) *Error {
	return &Error{Code: codes.InvalidArgument, Reason: "INVALID_CURSOR", Message: errorText("INVALID_CURSOR", fmt.Sprintf("%q", text))}
}

func notResumable() *Error {
	return &Error{Code: codes.FailedPrecondition, Reason: "NOT_RESUMABLE", Message: errorTexts["NOT_RESUMABLE"]}
}

func clientClosed() *Error {
	return &Error{Code: codes.FailedPrecondition, Reason: "CLIENT_CLOSED", Message: errorTexts["CLIENT_CLOSED"]}
}
