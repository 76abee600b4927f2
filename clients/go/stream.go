package tokengrpc

import (
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	pb "github.com/tokengrpc/tokengrpc/generated/go/tokenstreaming/v1"
	"google.golang.org/grpc"
)

// trailersTimeout limits the wait for a call's trailers after `finished`: they add no data, but show that the server has
// completed its accounting.
const trailersTimeout = time.Second

// Stream is one generation, read over as many calls as necessary. Reading updates its fields and the Answer: only the
// goroutine that reads may use them. Cursor and Detach may be called from any goroutine.
type Stream struct {
	Answer

	GenerationID string
	// Resumes is the number of calls after the first one.
	Resumes int

	ctx     context.Context
	client  *Client
	request *pb.StreamTokensRequest // nil: only reads a generation that another call started
	refused *Error                  // why reading cannot begin

	mu      sync.Mutex // guards what follows, and writes to the Answer
	session session
	opened  bool
	left    departure
	reading context.Context // ends with the reading
	stop    context.CancelFunc
}

// departure is how a stream was left before its end.
type departure int

const (
	staying  departure = iota
	detached           // the generation is left to another reader
	closed             // the client was closed
	over               // the loop has ended
)

// Tokens returns an iterator over all tokens, each once, in order. If the stream fails, the last pair has the error, an
// *Error. Leaving the loop early stops the generation, unless Detach was called or the stream came from Client.Resume. A
// stream can be read once.
func (s *Stream) Tokens() iter.Seq2[*pb.Token, error] {
	return func(yield func(*pb.Token, error) bool) {
		for message, err := range s.Messages() {
			if err != nil {
				yield(nil, err)
				return
			}
			for _, token := range message.Tokens {
				if !yield(token, nil) {
					return
				}
			}
		}
	}
}

// Messages returns an iterator over all new messages as they arrive, including notices. Otherwise it is like Tokens.
func (s *Stream) Messages() iter.Seq2[*pb.StreamTokensResponse, error] {
	return func(yield func(*pb.StreamTokensResponse, error) bool) {
		if err := s.open(); err != nil {
			yield(nil, err)
			return
		}
		defer s.leave()
		for {
			failure, left := s.call(yield)
			if left {
				return
			}
			next := s.next(failure)
			if next.err != nil {
				yield(nil, next.err)
			}
			if !next.again {
				return
			}
			s.Resumes++
			select {
			case <-time.After(next.delay):
			case <-s.reading.Done():
			}
		}
	}
}

// Cursor returns the position after the last message that was read. Client.Resume goes on from it.
func (s *Stream) Cursor() Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor(s.GenerationID)
}

// Detach leaves the generation to another reader: it ends the stream without stopping the generation, and returns the
// cursor. The loop then ends without an error, after the remaining tokens of the message that it is reading. The generation
// waits for a reader as long as the request's recovery.detach_ttl says.
//
// If the request has DISCONNECT_ACTION_CANCEL, Detach fails with the reason NOT_RESUMABLE and changes nothing.
func (s *Stream) Detach() (Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.session.resumable {
		err := notResumable()
		err.GenerationID, err.LastSequence, err.Cursor = s.GenerationID, s.Sequence, s.cursor(s.GenerationID)
		return Cursor{}, err
	}
	s.depart(detached)
	return s.cursor(s.GenerationID), nil
}

// open begins reading. It fails if that is not possible.
func (s *Stream) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refused != nil:
		return s.refused
	case s.opened:
		return errors.New("tokengrpc: a stream is read once: call Stream or Resume again")
	case !s.client.enter(s):
		return s.session.fail(clientClosed()).err
	}
	s.opened = true
	s.reading, s.stop = context.WithCancel(s.ctx)
	if s.left != staying {
		s.stop()
	}
	return nil
}

// call makes one call and reads until the call or the generation ends. left is whether the reader left the loop.
func (s *Stream) call(yield func(*pb.StreamTokensResponse, error) bool) (failure *Error, left bool) {
	ctx, cancel := context.WithCancel(s.reading)
	defer cancel()
	call, err := s.begin(ctx)
	for err == nil && s.Finished == nil {
		var message *pb.StreamTokensResponse
		if message, err = call.Recv(); err != nil {
			break
		}
		isNew, invalid := s.receive(message)
		if invalid != nil {
			return invalid, false
		}
		if isNew && !yield(message, nil) {
			return nil, true
		}
	}
	if s.Finished != nil {
		time.AfterFunc(trailersTimeout, cancel)
		_, _ = call.Recv()
		return nil, false
	}
	if err == io.EOF {
		return nil, false
	}
	return decode(err), false
}

func (s *Stream) begin(ctx context.Context) (grpc.ServerStreamingClient[pb.StreamTokensResponse], error) {
	s.mu.Lock()
	resume := s.session.resume()
	s.mu.Unlock()
	if resume != nil {
		return s.client.RPC.ResumeTokens(ctx, resume)
	}
	return s.client.RPC.StreamTokens(ctx, s.request)
}

// receive adds a message and returns whether it is new. After a departure, none is.
func (s *Stream) receive(message *pb.StreamTokensResponse) (bool, *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left != staying {
		return false, nil
	}
	return s.session.receive(message)
}

// next decides what follows a call.
func (s *Stream) next(failure *Error) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.left {
	case detached:
		return verdict{}
	case closed:
		return s.session.fail(clientClosed())
	}
	if cause := s.ctx.Err(); cause != nil && s.Finished == nil && (failure == nil || failure.Reason == "") {
		return s.session.fail(contextEnded(cause))
	}
	return s.session.ended(failure, time.Now(), rand.Float64())
}

// depart ends reading early. The caller holds the lock.
func (s *Stream) depart(how departure) {
	if s.left == staying {
		s.left = how
		if s.stop != nil {
			s.stop()
		}
	}
}

// abandon ends reading because the client is being closed, and cancels the generation in the background.
func (s *Stream) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == staying && s.session.mustCancel() {
		go s.client.cancelling(s)()
	}
	s.depart(closed)
}

// leave ends reading and cancels a generation that may still run although its reader will not resume it. If the reader left
// the loop, the cancellation completes before the next statement; if the stream failed, it runs in the background.
func (s *Stream) leave() {
	s.mu.Lock()
	cancel := func() {}
	if s.left == staying && s.session.mustCancel() {
		cancel = s.client.cancelling(s)
	}
	s.depart(over)
	s.mu.Unlock()
	s.client.exit(s)
	if s.session.failed == nil {
		cancel()
	} else {
		go cancel()
	}
}
