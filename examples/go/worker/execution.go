package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	taskyardv1 "taskyard/api/v1"
	"taskyard/yard"
)

// Why a run is stopped, as its context tells.
var (
	errCancelled = errors.New("cancelled")
	errDropped   = errors.New("given to somebody else")
	errLeaseLost = errors.New("the server did not answer for a lease")
	errTimedOut  = errors.New("exceeded its timeout")
)

// run is one run under the epoch it was assigned with.
type run struct {
	key     *taskyardv1.RunKey
	args    []byte
	extra   *taskyardv1.AttemptExtra
	inputs  inputs
	broken  error // why it cannot be executed here
	began   time.Time
	context context.Context
	stop    context.CancelCauseFunc
}

// start says that a run has started.
func (r *run) start() *taskyardv1.StartedRun {
	return &taskyardv1.StartedRun{Key: r.key, RunningMs: uint64(time.Since(r.began).Milliseconds())}
}

// readChunk reads the runs of a chunk.
func readChunk(assigned *taskyardv1.AssignChunk) ([]*run, error) {
	var body taskyardv1.ChunkBody
	if err := proto.Unmarshal(assigned.Body, &body); err != nil {
		return nil, fmt.Errorf("the body of a chunk is no ChunkBody: %w", err)
	}
	runs := make([]*run, len(assigned.RunIds)/16)
	for at := range runs {
		id := assigned.RunIds[at*16 : at*16+16]
		key := &taskyardv1.RunKey{RunId: id, Epoch: assigned.FirstEpoch + uint64(at)}
		ctx, stop := context.WithCancelCause(context.Background())
		runs[at] = &run{key: key, extra: &taskyardv1.AttemptExtra{}, context: ctx, stop: stop}
		if at < len(body.Args) {
			runs[at].args = body.Args[at]
		}
		runs[at].inputs, runs[at].broken = readInputs(&body, at)
		if assigned.BodyBlob != nil {
			runs[at].broken = errors.New("this worker fetches no blobs: the results of upstream runs are too large")
		}
	}
	for _, extra := range body.Extras {
		if int(extra.Position) < len(runs) {
			runs[extra.Position].extra = extra
		}
	}
	return runs, nil
}

// execute is one slot: it executes one chunk after the other, and the runs of each in order.
func (w *Worker) execute() {
	for chunk := range w.work {
		for _, run := range chunk.runs {
			w.executeRun(run, chunk.template)
		}
	}
}

func (w *Worker) executeRun(run *run, template *taskyardv1.RunTemplate) {
	defer run.stop(nil)
	name := template.GetCode().GetTaskName()
	task, known := w.tasks[name]
	call, err := readCall(run)
	switch {
	case context.Cause(run.context) != nil: // before it started
		w.ended(run, nil, context.Cause(run.context))
		return
	case !known:
		w.lost(run, taskyardv1.StateReason_STATE_REASON_CODE_UNAVAILABLE, fmt.Sprintf("there is no task %q here", name))
		return
	case err != nil:
		w.lost(run, taskyardv1.StateReason_STATE_REASON_CODE_UNAVAILABLE, err.Error())
		return
	}
	w.begun(run)
	call.Log = func(text string) { w.logged(run, name, text) }
	ctx := run.context
	if template.TimeoutMs > 0 { // the worker enforces it, nobody else does
		limited, cancel := context.WithTimeoutCause(ctx, time.Duration(template.TimeoutMs)*time.Millisecond, errTimedOut)
		defer cancel()
		ctx = limited
	}
	value, err := guarded(ctx, task, call)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	w.ended(run, value, err)
}

// readCall reads what a task is called with.
func readCall(run *run) (Call, error) {
	call := Call{Run: yard.FormatID(run.key.RunId), Attempt: max(1, run.extra.Attempt)}
	args := run.args
	if payload := run.extra.Payload; payload != nil {
		if payload.Encoding != yard.JSON || payload.KeyId != "" {
			return call, fmt.Errorf("the arguments are in %q, or encrypted, which is unknown here", payload.Encoding)
		}
		args = payload.GetData()
	}
	switch {
	case run.broken != nil:
		return call, run.broken
	case run.extra.Args != nil:
		return call, errors.New("this worker fetches no blobs: the arguments are too large")
	}
	return call, readArguments(args, run.inputs, &call)
}

// guarded calls a task; a panic is a failure of this run, and of no other.
func guarded(ctx context.Context, task Task, call Call) (value any, err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = Failure{Type: "panic", Message: fmt.Sprint(caught)}
		}
	}()
	return task(ctx, call)
}
