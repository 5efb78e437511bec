package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"
)

// Task is a function that runs can name. It returns soon after its context has ended: nobody can end a goroutine
// from outside.
type Task func(ctx context.Context, call Call) (any, error)

// Call is what a task is called with.
type Call struct {
	Run     string // the id of the run, for people
	Attempt uint32 // from 1
	Args    []json.RawMessage
	Kwargs  map[string]json.RawMessage
	Log     func(text string) // writes to the run's log
}

// Failure is an error that says more of itself: its type, and that the same call would fail again.
type Failure struct {
	Type         string
	Message      string
	NotRetriable bool
}

func (f Failure) Error() string { return f.Message }

var tasks = map[string]Task{
	"kit.add":   add,
	"kit.fail":  fail,
	"kit.sleep": sleep,
}

// add returns the sum of its arguments.
func add(_ context.Context, call Call) (any, error) {
	var sum float64
	for at, arg := range call.Args {
		var number float64
		if err := json.Unmarshal(arg, &number); err != nil {
			return nil, Failure{"TypeError", fmt.Sprintf("args[%d] is no number: %s", at, arg), true}
		}
		sum += number
	}
	call.Log(fmt.Sprintf("added %d numbers", len(call.Args)))
	return sum, nil
}

// fail fails with its first argument, until the attempt that its second one names, if any.
func fail(_ context.Context, call Call) (any, error) {
	text, until := "no good", uint32(0)
	if len(call.Args) > 0 {
		_ = json.Unmarshal(call.Args[0], &text)
	}
	if len(call.Args) > 1 {
		_ = json.Unmarshal(call.Args[1], &until)
	}
	if until != 0 && call.Attempt >= until {
		return call.Attempt, nil
	}
	return nil, errors.New(text)
}

// sleep waits for so many seconds, and returns them.
func sleep(ctx context.Context, call Call) (any, error) {
	var seconds float64
	if len(call.Args) > 0 {
		_ = json.Unmarshal(call.Args[0], &seconds)
	}
	log.Printf("executing %s", call.Run)
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return seconds, nil
	}
}
