package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	taskyardv1 "taskyard/api/v1"
	"taskyard/yard"
)

const (
	pollFor = 5 * time.Second // far below the lease, which each answered poll renews
	// busyFor is how long a poll waits that asks for no runs: it is there for cancellations.
	busyFor = 200 * time.Millisecond
	callFor = 10 * time.Second
)

func unavailable(text string) error { return status.Error(codes.Unavailable, text) }

// poller asks for work by calls: one poll after the other, and reports beside them.
type poller struct {
	worker    *Worker
	client    taskyardv1.AgentServiceClient
	number    uint64
	templates map[uint32]*taskyardv1.RunTemplate
	greeted   atomic.Bool
}

// Poll serves a control plane by calls, until the worker has drained. It calls one server only: with several, a
// worker dials the address that NOT_OWNER names, as Stream does.
func (w *Worker) Poll(address string) error {
	connection, err := yard.Dial(address)
	if err != nil {
		return err
	}
	defer connection.Close()
	p := &poller{worker: w, client: taskyardv1.NewAgentServiceClient(connection)}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() { cancel(p.report(ctx)) }()
	for {
		drained, err := p.next(ctx)
		if drained {
			return nil
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			return err
		}
	}
}

// next makes the poll of the next number, as often as it takes, and does what the answer says.
func (p *poller) next(ctx context.Context) (drained bool, err error) {
	w := p.worker
	p.number++
	request := &taskyardv1.PollRequest{AgentId: w.options.Name, SessionId: w.sessionID, Number: p.number}
	if !p.greeted.Load() {
		request.Hello = w.hello(0)
		p.templates = map[uint32]*taskyardv1.RunTemplate{}
	} else {
		room, chunkSize := w.room()
		request.MaxRuns, request.ChunkSize = uint32(room), uint32(chunkSize)
		request.WaitMs = uint64(pollFor.Milliseconds())
		if request.Draining = w.isDraining(); room == 0 {
			request.WaitMs = uint64(busyFor.Milliseconds())
		}
	}
	var sent time.Time
	response, err := yard.Call(ctx, func() (*taskyardv1.PollResponse, error) {
		w.checkLease()
		sent = time.Now()
		ctx, cancel := context.WithTimeout(ctx, pollFor+callFor)
		defer cancel()
		return p.client.Poll(ctx, request) // the same number again gets the same answer
	})
	if err != nil && yard.React(err) == yard.SayHello {
		log.Printf("saying hello again: %s", yard.Explain(err))
		p.greeted.Store(false)
		return w.done(), nil // the numbers go on
	}
	if err != nil {
		return false, err
	}
	return response.Drained, p.apply(response, sent)
}

func (p *poller) apply(response *taskyardv1.PollResponse, sent time.Time) error {
	w := p.worker
	if welcome := response.Welcome; welcome != nil {
		w.welcomed(welcome, sent)
		p.greeted.Store(true)
		w.nudge()
	}
	w.mu.Lock()
	w.lease.answered = sent
	w.mu.Unlock()
	for _, definition := range response.Templates {
		p.templates[definition.Index] = definition.Template
	}
	for _, chunk := range response.Chunks {
		template := p.templates[chunk.Template]
		if template == nil {
			return fmt.Errorf("template %d was never defined since the hello", chunk.Template)
		}
		if err := w.assign(chunk, template); err != nil {
			return err
		}
	}
	w.cancel(response.Cancel)
	if response.Drain {
		w.Drain()
	}
	time.Sleep(time.Duration(response.ReconnectAfterMs) * time.Millisecond)
	return nil
}

// report sends one batch after the other, each as often as it takes.
func (p *poller) report(ctx context.Context) error {
	for {
		request := p.worker.nextBatch()
		if request == nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-p.worker.wake:
			}
			continue
		}
		response, err := yard.Call(ctx, func() (*taskyardv1.ReportBatchResponse, error) {
			ctx, cancel := context.WithTimeout(ctx, callFor)
			defer cancel()
			return p.client.ReportBatch(ctx, request)
		})
		switch {
		case err == nil:
			p.worker.acknowledged(response.ReportedUpTo)
		case yard.React(err) == yard.SayHello:
			p.greeted.Store(false) // the poll says hello, and then this batch is sent again
			if errors.Is(p.awaitHello(ctx), context.Canceled) {
				return ctx.Err()
			}
		default:
			return err
		}
	}
}

// awaitHello waits until the server knows the worker again.
func (p *poller) awaitHello(ctx context.Context) error {
	for !p.greeted.Load() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// nextBatch returns the oldest batch that was not acknowledged; nil when there is nothing to tell. What has
// started goes with the newest, or in a batch of its own: whatever has a number is repeated as it was.
func (w *Worker) nextBatch() *taskyardv1.ReportBatchRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.outbox) > 0 {
		return w.outbox[0].request
	}
	w.numberNews()
	if len(w.outbox) == 0 && len(w.started) > 0 {
		w.number++
		w.outbox = append(w.outbox, &batch{request: &taskyardv1.ReportBatchRequest{
			AgentId: w.options.Name, SessionId: w.sessionID, ReportNumber: w.number, Started: w.started,
		}})
		w.started = nil
	}
	if len(w.outbox) == 0 {
		return nil
	}
	return w.outbox[0].request
}
