// Command interop is the Go driver of the interop suite: see tests/interop/README.md for what it reads and writes.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	tokengrpc "github.com/tokengrpc/tokengrpc/clients/go"
	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
)

type order struct {
	Target string `json:"target"`
	TLS    *struct {
		CA   string `json:"ca_file"`
		Cert string `json:"cert_file"`
		Key  string `json:"key_file"`
	} `json:"tls"`
	Call              string   `json:"call"`
	GenerationID      string   `json:"generation_id"`
	Cursor            string   `json:"cursor"`
	CancelOnClose     bool     `json:"cancel_on_close"`
	PatienceSeconds   *float64 `json:"patience_seconds"`
	Prompt            string   `json:"prompt"`
	Tools             []string `json:"tools"`
	TimeoutSeconds    *float64 `json:"timeout_seconds"`
	DeadlineMargin    *float64 `json:"deadline_margin_seconds"`
	OnDeadline        string   `json:"on_deadline"`
	Resumable         bool     `json:"resumable"`
	StopAfterTokens   *int32   `json:"stop_after_tokens"`
	DetachAfterTokens *int32   `json:"detach_after_tokens"`
}

type report struct {
	Text           string     `json:"text"`
	ReasoningText  string     `json:"reasoning_text"`
	RefusalText    string     `json:"refusal_text"`
	ToolCalls      []toolCall `json:"tool_calls"`
	TokenCount     int32      `json:"token_count"`
	IndexesGapless bool       `json:"indexes_gapless"`
	Sequence       int32      `json:"sequence"`
	Cursor         string     `json:"cursor"`
	Usage          *usage     `json:"usage"`
	FinishReason   string     `json:"finish_reason"`
	State          string     `json:"state"`
	Error          *failure   `json:"error"`
	Resumes        int        `json:"resumes"`
	Notices        notices    `json:"notices"`
}

type toolCall struct {
	ID           string `json:"id"`
	FunctionName string `json:"function_name"`
	Arguments    string `json:"arguments"`
	Opaque       string `json:"opaque"`
}

type usage struct {
	Input     int32  `json:"input"`
	Output    int32  `json:"output"`
	Reasoning int32  `json:"reasoning"`
	Source    string `json:"source"`
}

type failure struct {
	Code         string `json:"code"`
	Reason       string `json:"reason"`
	Message      string `json:"message"`
	Advice       string `json:"advice"`
	Ended        bool   `json:"ended"`
	GenerationID string `json:"generation_id"`
	LastSequence int32  `json:"last_sequence"`
	Line         string `json:"line"`
}

type notices struct {
	Attached    int `json:"attached"`
	Heartbeat   int `json:"heartbeat"`
	DrainNotice int `json:"drain_notice"`
}

func newReport() *report { return &report{ToolCalls: []toolCall{}, IndexesGapless: true} }

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	asked := order{Call: "stream", Prompt: "hello", OnDeadline: "fail", Resumable: true}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return fmt.Errorf("stdin holds no request: %w", err)
	}
	var options []grpc.DialOption
	if files := asked.TLS; files != nil {
		option, err := tokengrpc.TLS(tokengrpc.TLSFiles{CA: files.CA, Cert: files.Cert, Key: files.Key})
		if err != nil {
			return err
		}
		options = append(options, option)
	}
	client, err := tokengrpc.New(asked.Target, options...)
	if err != nil {
		return err
	}
	if patience := asked.PatienceSeconds; patience != nil {
		client.Policy.Patience = seconds(*patience)
		if *patience == 0 {
			client.Policy.Patience = -1 // 0 is the default
		}
	}
	answer, err := asked.do(client)
	if err != nil {
		return err
	}
	if err := client.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

func (o order) do(client *tokengrpc.Client) (*report, error) {
	ctx := context.Background()
	if o.TimeoutSeconds != nil {
		var done context.CancelFunc
		ctx, done = context.WithTimeout(ctx, seconds(*o.TimeoutSeconds))
		defer done()
	}
	switch o.Call {
	case "get":
		return get(ctx, client, o.GenerationID)
	case "resume":
		return o.resume(ctx, client)
	case "stream":
		return o.read(client.Stream(ctx, o.request()))
	}
	return nil, fmt.Errorf("call %q is unknown", o.Call)
}

func (o order) resume(ctx context.Context, client *tokengrpc.Client) (*report, error) {
	cursor, err := tokengrpc.ParseCursor(o.Cursor)
	if err != nil {
		r := newReport()
		return r, r.fail(err)
	}
	var options []tokengrpc.ResumeOption
	if o.CancelOnClose {
		options = append(options, tokengrpc.CancelOnClose())
	}
	return o.read(client.Resume(ctx, cursor, options...))
}

func (o order) request() *pb.StreamTokensRequest {
	request := &pb.StreamTokensRequest{
		GenerationId: o.GenerationID,
		Input:        &pb.StreamTokensRequest_Prompt{Prompt: o.Prompt},
	}
	for _, name := range o.Tools {
		request.Tools = append(request.Tools, &pb.Tool{Name: name})
	}
	if !o.Resumable {
		request.Recovery = &pb.Recovery{DisconnectAction: pb.DisconnectAction_DISCONNECT_ACTION_CANCEL}
	}
	if o.DeadlineMargin != nil {
		margin := time.Duration(*o.DeadlineMargin * float64(time.Second))
		request.Limits = &pb.Limits{DeadlineMargin: durationpb.New(margin)}
	}
	if o.OnDeadline == "partial" {
		if request.Limits == nil {
			request.Limits = &pb.Limits{}
		}
		request.Limits.DeadlineAction = pb.DeadlineAction_DEADLINE_ACTION_FINISH_PARTIAL
	}
	return request
}

func get(ctx context.Context, client *tokengrpc.Client, id string) (*report, error) {
	r := newReport()
	generation, err := client.Get(ctx, id)
	if err != nil {
		return r, r.fail(err)
	}
	r.State = short(generation.GetState(), "GENERATION_STATE_")
	r.Sequence = generation.GetLastSequence()
	r.finish(generation.GetUsage(), generation.GetFinished())
	return r, nil
}

func (o order) read(stream *tokengrpc.Stream) (*report, error) {
	r := newReport()
	next := int32(-1) // a resumed stream's first token may have any index
	if stream.Sequence == 0 {
		next = 0
	}
reading:
	for message, err := range stream.Messages() {
		if err != nil {
			if err := r.fail(err); err != nil {
				return nil, err
			}
			break
		}
		r.Notices.count(message)
		for _, token := range message.GetTokens() {
			r.IndexesGapless = r.IndexesGapless && (next < 0 || token.GetIndex() == next)
			next = token.GetIndex() + token.GetCount()
			r.TokenCount += token.GetCount()
			r.Text += token.GetText()
			r.ReasoningText += token.GetReasoningText()
			r.RefusalText += token.GetRefusalText()
			if o.StopAfterTokens != nil && r.TokenCount >= *o.StopAfterTokens {
				break reading
			}
			if o.DetachAfterTokens != nil && r.TokenCount >= *o.DetachAfterTokens {
				if _, err := stream.Detach(); err != nil {
					if err := r.fail(err); err != nil {
						return nil, err
					}
					break reading
				}
			}
		}
	}
	for _, call := range stream.ToolCalls() {
		opaque := base64.StdEncoding.EncodeToString(call.GetOpaque())
		r.ToolCalls = append(r.ToolCalls, toolCall{call.GetId(), call.GetFunctionName(), call.GetArguments(), opaque})
	}
	r.Sequence, r.Cursor, r.Resumes = stream.Sequence, stream.Cursor().String(), stream.Resumes
	r.finish(stream.Usage, stream.Finished)
	return r, nil
}

func (r *report) finish(u *pb.Usage, finished *pb.Finished) {
	if u != nil {
		r.Usage = &usage{u.GetInputTokenCount(), u.GetOutputTokenCount(), u.GetReasoningTokenCount(), short(u.GetSource(), "USAGE_SOURCE_")}
	}
	if finished != nil {
		r.FinishReason = short(finished.GetFinishReason(), "FINISH_REASON_")
	}
}

// fail adds the failure of a call to the report. It returns any other error, which is a bug.
func (r *report) fail(err error) error {
	told := new(tokengrpc.Error)
	if !errors.As(err, &told) {
		return err
	}
	advice := ""
	if _, known := pb.RetryAdvice_name[int32(told.Advice)]; known && told.Advice != pb.RetryAdvice_RETRY_ADVICE_UNSPECIFIED {
		advice = short(told.Advice, "RETRY_ADVICE_")
	}
	r.Error = &failure{
		Code: code.Code(told.Code).String(), Reason: told.Reason, Message: told.Message, Advice: advice,
		Ended: told.Ended, GenerationID: told.GenerationID, LastSequence: told.LastSequence, Line: told.Error(),
	}
	return nil
}

func (n *notices) count(message *pb.StreamTokensResponse) {
	switch message.GetNotice().(type) {
	case *pb.StreamTokensResponse_Attached:
		n.Attached++
	case *pb.StreamTokensResponse_Heartbeat:
		n.Heartbeat++
	case *pb.StreamTokensResponse_DrainNotice:
		n.DrainNotice++
	}
}

// short returns an enum value's name without the enum's prefix; the number if this version does not know the value.
func short(value fmt.Stringer, prefix string) string {
	return strings.TrimPrefix(value.String(), prefix)
}
