package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"time"

	taskyardv1 "taskyard/api/v1"
	"taskyard/yard"
)

// watch prints each change of some runs, until all of them have ended.
func (c client) watch(ctx context.Context, ids [][]byte) error {
	open := map[string]bool{}
	for _, id := range ids {
		open[string(id)] = true
	}
	request := &taskyardv1.WatchRunsRequest{Filter: &taskyardv1.RunFilter{RunIds: ids}}
	var backoff yard.Backoff
	for {
		err := c.watchOnce(ctx, request, open)
		switch {
		case err == nil:
			return nil
		case yard.Detail(err).Reason == taskyardv1.ErrorReason_ERROR_REASON_WATCH_EXPIRED:
			request.ResumeToken = "" // begins with the runs as they are: what was missed is in that
		case yard.React(err) == yard.Repeat && backoff.Wait(ctx, err) == nil:
		default:
			return err
		}
	}
}

// watchOnce follows one stream; it returns nil when all runs have ended.
func (c client) watchOnce(ctx context.Context, request *taskyardv1.WatchRunsRequest, open map[string]bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // leaves the stream
	stream, err := c.runs.WatchRuns(ctx, request)
	for err == nil {
		var message *taskyardv1.WatchRunsResponse
		if message, err = stream.Recv(); err != nil {
			break
		}
		for _, run := range message.Runs {
			fmt.Printf("%s %s %s\n", yard.FormatID(run.RunId), run.Name, stateOf(run))
			if ended(run.State) {
				delete(open, string(run.RunId))
			}
		}
		request.ResumeToken = message.ResumeToken
		if len(open) == 0 {
			return nil
		}
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the server ended the watch")
	}
	return err
}

// logs prints the log of a run as it grows, until it is complete.
func (c client) logs(ctx context.Context, id []byte) error {
	request := &taskyardv1.TailRunLogsRequest{RunId: id}
	var backoff yard.Backoff
	for {
		complete, err := c.logsOnce(ctx, request)
		if complete || err == nil {
			return nil
		}
		if yard.React(err) != yard.Repeat || backoff.Wait(ctx, err) != nil {
			return err
		}
	}
}

func (c client) logsOnce(ctx context.Context, request *taskyardv1.TailRunLogsRequest) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.runs.TailRunLogs(ctx, request)
	if err != nil {
		return false, err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return false, err
		}
		logs := message.GetLogs()
		for at, text := range logs.GetMessages() {
			fmt.Println(time.UnixMicro(logs.AtUs[at]).UTC().Format(time.RFC3339Nano), logs.Loggers[at], text)
		}
		request.PageToken = message.NextPageToken
		if message.Complete {
			return true, nil
		}
	}
}

// cancel asks for the end of a run. To ask twice is to ask once.
func (c client) cancel(ctx context.Context, id []byte) error {
	request := &taskyardv1.CancelRunRequest{RunId: id, Reason: "asked for on a command line"}
	if who, err := user.Current(); err == nil {
		request.RequestedBy = who.Username
	}
	response, err := yard.Call(ctx, func() (*taskyardv1.CancelRunResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return c.runs.CancelRun(ctx, request)
	})
	if err == nil {
		fmt.Println(response.State)
	}
	return err
}
