package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	taskyardv1 "taskyard/api/v1"
	"taskyard/yard"
)

const (
	waitFor = 30 * time.Second
	// patience is what a call may take beyond that.
	patience = 10 * time.Second
)

func (c client) submit(ctx context.Context, words []string) error {
	flags := flag.NewFlagSet("submit", flag.ExitOnError)
	queue := flags.String("queue", "default", "the queue it waits in")
	retries := flags.Uint("retries", 0, "attempts after the first one")
	reference := flags.String("reference", "", "a Python function to call instead, as module:name")
	noWait := flags.Bool("no-wait", false, "print the id of the run, and end")
	if err := flags.Parse(words); err != nil {
		return err
	}
	args, err := envelope(flags.Args()[min(1, flags.NArg()):])
	if err != nil {
		return err
	}
	task := flags.Arg(0)
	template := &taskyardv1.RunTemplate{
		Kind:     taskyardv1.RunKind_RUN_KIND_TASK,
		Name:     task,
		TaskKey:  task,
		Queue:    *queue,
		Code:     &taskyardv1.Code{Location: &taskyardv1.Code_TaskName{TaskName: task}},
		Encoding: yard.JSON,
		Retry:    &taskyardv1.RetryPolicy{MaxRetries: uint32(*retries)},
	}
	if *reference != "" {
		template.Code.Location = &taskyardv1.Code_Reference{Reference: *reference}
	}
	run := &taskyardv1.NewRun{
		RunId:    yard.NewID(),
		Template: template,
		Args:     &taskyardv1.Payload{Encoding: yard.JSON, Body: &taskyardv1.Payload_Data{Data: args}},
	}
	if err := c.send(ctx, run); err != nil {
		return err
	}
	if *noWait {
		fmt.Println(yard.FormatID(run.RunId))
		return nil
	}
	return c.wait(ctx, run.RunId)
}

// envelope writes arguments as the contract has them in JSON.
func envelope(words []string) ([]byte, error) {
	args := make([]json.RawMessage, len(words))
	for at, word := range words {
		if !json.Valid([]byte(word)) {
			return nil, fmt.Errorf("the argument %s is no JSON; write texts as '\"text\"'", word)
		}
		args[at] = json.RawMessage(word)
	}
	return json.Marshal(map[string]any{"args": args, "kwargs": map[string]any{}})
}

// send submits a run. Its id makes the call one that may be repeated: what came twice is one run.
func (c client) send(ctx context.Context, run *taskyardv1.NewRun) error {
	request := &taskyardv1.SubmitRunsRequest{Runs: []*taskyardv1.NewRun{run}}
	response, err := yard.Call(ctx, func() (*taskyardv1.SubmitRunsResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return c.runs.SubmitRuns(ctx, request)
	})
	if err != nil {
		return err
	}
	for _, refused := range response.Refused {
		return refusal(refused)
	}
	return nil
}

// refusal turns the refusal of one run into the error that a call would have ended with.
func refusal(refused *taskyardv1.RefusedRun) error {
	detail, err := anypb.New(refused.Error)
	if err != nil {
		return err
	}
	code := refused.Code
	if code == 0 {
		code = int32(codes.Unknown)
	}
	return grpcstatus.FromProto(&status.Status{
		Code: code, Message: refused.Message, Details: []*anypb.Any{detail},
	}).Err()
}

// wait asks again and again until a run has ended: one call waits for a minute at most.
func (c client) wait(ctx context.Context, id []byte) error {
	request := &taskyardv1.WaitRunRequest{RunId: id, TimeoutMs: uint64(waitFor.Milliseconds())}
	for {
		response, err := yard.Call(ctx, func() (*taskyardv1.WaitRunResponse, error) {
			ctx, cancel := context.WithTimeout(ctx, waitFor+patience)
			defer cancel()
			return c.runs.WaitRun(ctx, request)
		})
		if err != nil {
			return err
		}
		if ended(response.Run.State) {
			return show(response.Run)
		}
	}
}
