// The client submits tasks by their names, waits for them, follows them and their logs, and cancels them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	taskyardv1 "taskyard/api/v1"
	"taskyard/yard"
)

const usage = `client [-address HOST:PORT] COMMAND

  submit [-queue Q] [-retries N] [-reference MODULE:NAME] [-no-wait] TASK [JSON ...]
              submit a run, wait for it, print its result
  wait RUN    wait for a run, print its result
  watch RUN ...
              print each change of some runs until all have ended
  logs RUN    print the log of a run until it is complete
  cancel RUN  cancel a run
`

// errFailed ends the program with code 1: the run did not complete, which was said already.
var errFailed = errors.New("the run did not complete")

type client struct {
	runs taskyardv1.RunServiceClient
}

func main() {
	address := flag.String("address", "127.0.0.1:4700", "the control plane")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch err := run(ctx, *address, flag.Args()); {
	case errors.Is(err, errFailed):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "error: "+yard.Explain(err))
		os.Exit(2)
	}
}

func run(ctx context.Context, address string, words []string) error {
	connection, err := yard.Dial(address)
	if err != nil {
		return err
	}
	defer connection.Close()
	c := client{taskyardv1.NewRunServiceClient(connection)}
	if len(words) < 2 {
		return errors.New("a command and what it is about are needed; see -help")
	}
	if words[0] == "submit" {
		return c.submit(ctx, words[1:])
	}
	var ids [][]byte
	for _, word := range words[1:] {
		id, err := yard.ParseID(word)
		if err != nil {
			return fmt.Errorf("%q is not the id of a run: %w", word, err)
		}
		ids = append(ids, id)
	}
	switch words[0] {
	case "wait":
		return c.wait(ctx, ids[0])
	case "watch":
		return c.watch(ctx, ids)
	case "logs":
		return c.logs(ctx, ids[0])
	case "cancel":
		return c.cancel(ctx, ids[0])
	}
	return fmt.Errorf("there is no command %q; see -help", words[0])
}

// ended tells the states that are never left from the others. There will be new ones of both kinds.
func ended(state taskyardv1.RunState) bool { return state >= 100 }

// show prints what became of a run.
func show(run *taskyardv1.Run) error {
	if run.State != taskyardv1.RunState_RUN_STATE_COMPLETED {
		fmt.Fprintf(os.Stderr, "%s: %s\n", stateOf(run), run.Message)
		if failure := run.Failure; failure != nil {
			fmt.Fprintf(os.Stderr, "%s: %s\n%s", failure.Type, failure.Message, failure.Traceback)
		}
		return errFailed
	}
	// Nothing is decoded in an encoding that was not announced.
	if encoding := run.Result.GetEncoding(); encoding != yard.JSON {
		fmt.Printf("(%d bytes of %s)\n", len(run.Result.GetData()), encoding)
		return nil
	}
	var value any
	if err := json.Unmarshal(run.Result.GetData(), &value); err != nil {
		return fmt.Errorf("the result is no JSON: %w", err)
	}
	text, err := json.Marshal(value)
	fmt.Println(string(text))
	return err
}

func stateOf(run *taskyardv1.Run) string {
	if run.StateName != "" {
		return run.StateName
	}
	return run.State.String()
}
