// The worker executes tasks by their names, for runs that a client in any language has submitted.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"taskyard/yard"
)

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	address := flag.String("address", "127.0.0.1:4700", "the control plane")
	name := flag.String("name", hostname(), "the name of this worker; one process at a time has it")
	queues := flag.String("queues", "default", "queues to serve, separated by commas")
	slots := flag.Int("slots", 2, "chunks of runs to execute at the same time")
	window := flag.Int("window", 16, "runs to hold, executing and waiting; few when runs are long")
	poll := flag.Bool("poll", false, "ask for work by calls instead of over a stream")
	flag.Parse()

	worker := NewWorker(Options{
		Name: *name, Queues: strings.Split(*queues, ","), Slots: *slots, Window: *window,
	}, tasks)
	// The first signal drains: what is held is finished and reported. The second one ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { stop(); worker.Drain() })
	serve := worker.Stream
	if *poll {
		serve = worker.Poll
	}
	if err := serve(*address); err != nil {
		fmt.Fprintln(os.Stderr, "error: "+yard.Explain(err))
		os.Exit(1)
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "go-worker"
	}
	return "go-worker@" + name
}
