package yard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskyardv1 "taskyard/api/v1"
)

// Reaction is what the contract asks for after a call has failed.
type Reaction int

const (
	// Stop means that no repetition helps.
	Stop Reaction = iota
	// Repeat means to send the same again, after the delay.
	Repeat
	// SayHello means that the server does not know the session any more.
	SayHello
	// Redirect means to call the address in the detail.
	Redirect
	// Reconnect means that this stream is over, and another one may be opened.
	Reconnect
)

// Detail returns what the server says of an error beside its code; an empty one when it says nothing.
func Detail(err error) *taskyardv1.ErrorDetail {
	if refused, ok := status.FromError(err); ok {
		for _, detail := range refused.Details() {
			if ours, ok := detail.(*taskyardv1.ErrorDetail); ok {
				return ours
			}
		}
	}
	return &taskyardv1.ErrorDetail{}
}

// React says what to do about an error. The reason decides; without one, the code does.
func React(err error) Reaction {
	detail := Detail(err)
	switch detail.Reason {
	case taskyardv1.ErrorReason_ERROR_REASON_OVERLOADED,
		taskyardv1.ErrorReason_ERROR_REASON_STORAGE_FULL,
		taskyardv1.ErrorReason_ERROR_REASON_STORAGE_UNAVAILABLE,
		taskyardv1.ErrorReason_ERROR_REASON_STOPPING:
		return Repeat
	case taskyardv1.ErrorReason_ERROR_REASON_UNKNOWN_SESSION:
		return SayHello
	case taskyardv1.ErrorReason_ERROR_REASON_NOT_OWNER:
		return Redirect
	case taskyardv1.ErrorReason_ERROR_REASON_STREAM_REPLACED:
		return Reconnect
	case taskyardv1.ErrorReason_ERROR_REASON_UNSPECIFIED:
		if code := status.Code(err); code == codes.Unavailable || code == codes.DeadlineExceeded {
			return Repeat
		}
		return Stop
	}
	if detail.RetryAfterMs > 0 { // AGENT_EXISTS: the other one is leaving
		return Repeat
	}
	return Stop
}

// Backoff is how long to wait between attempts: what the server asks for, and a random part that grows.
type Backoff struct{ failures int }

// Reset forgets the failures so far.
func (b *Backoff) Reset() { b.failures = 0 }

// Wait waits before the next attempt; it returns early, with an error, when ctx ends.
func (b *Backoff) Wait(ctx context.Context, err error) error {
	asked := time.Duration(Detail(err).RetryAfterMs) * time.Millisecond
	most := min(3*time.Second, 100*time.Millisecond<<min(b.failures, 5))
	b.failures++
	// A thousand peers are told the same delay; the random part keeps them from coming back at once.
	timer := time.NewTimer(asked + rand.N(max(most, asked)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Call makes a call that may be repeated, until it has an answer, a repetition is of no use, or ctx ends.
func Call[Response any](ctx context.Context, call func() (Response, error)) (Response, error) {
	var backoff Backoff
	for {
		response, err := call()
		if err == nil || React(err) != Repeat || backoff.Wait(ctx, err) != nil {
			return response, err
		}
	}
}

// Explain writes an error for people, in one line.
func Explain(err error) string {
	refused, ok := status.FromError(err)
	if !ok || errors.Is(err, context.Canceled) {
		return err.Error()
	}
	if reason := Detail(err).Reason; reason != 0 {
		return fmt.Sprintf("%s (%s)", refused.Message(), reason)
	}
	return fmt.Sprintf("%s (%s)", refused.Message(), refused.Code())
}
