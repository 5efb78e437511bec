package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"google.golang.org/grpc"

	taskyardv1 "taskyard/api/v1"
	"taskyard/yard"
)

// Stream serves a control plane over one stream after the other, until the worker has drained.
func (w *Worker) Stream(address string) error {
	var backoff yard.Backoff
	to := address
	for streams := uint64(1); ; streams++ {
		began := time.Now()
		err := w.stream(to, streams)
		if err == nil {
			return nil
		}
		if time.Since(began) > time.Second {
			backoff.Reset()
		}
		log.Printf("lost the stream: %s", yard.Explain(err))
		to = address
		switch yard.React(err) {
		case yard.Stop:
			return err
		case yard.Redirect:
			to = yard.Detail(err).Address
		}
		_ = backoff.Wait(context.Background(), err)
		w.checkLease()
	}
}

// link is one stream. What belongs to it begins anew with the next: templates, credit, heartbeats.
type link struct {
	worker    *Worker
	stream    grpc.BidiStreamingClient[taskyardv1.AgentFrame, taskyardv1.ServerFrame]
	templates map[uint32]*taskyardv1.RunTemplate
	received  int // runs, since the stream opened
	granted   int // the total that was told last
	sent      uint64
	heartbeat uint64
	beats     map[uint64]time.Time
	draining  bool
}

// stream opens one stream and serves it until it ends; nil means that the worker has drained.
func (w *Worker) stream(address string, number uint64) error {
	connection, err := yard.Dial(address)
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l := &link{worker: w, templates: map[uint32]*taskyardv1.RunTemplate{}, beats: map[uint64]time.Time{}}
	if l.stream, err = taskyardv1.NewAgentServiceClient(connection).Connect(ctx); err != nil {
		return err
	}
	sent := time.Now()
	if err := l.stream.Send(&taskyardv1.AgentFrame{Hello: w.hello(number)}); err != nil {
		return l.status(err)
	}
	frames, ended := l.read()
	select {
	case frame := <-frames:
		if frame.Welcome == nil {
			return errors.New("the first frame of the server carries no welcome")
		}
		w.welcomed(frame.Welcome, sent)
		w.acknowledged(frame.ReportedUpTo)
		if err := l.apply(frame); err != nil {
			return err
		}
	case err := <-ended:
		return err
	case <-time.After(10 * time.Second):
		return unavailable("the server did not answer in time")
	}
	return l.serve(frames, ended)
}

// read receives frames for as long as the stream lasts.
func (l *link) read() (<-chan *taskyardv1.ServerFrame, <-chan error) {
	frames, ended := make(chan *taskyardv1.ServerFrame), make(chan error, 1)
	go func() {
		for {
			frame, err := l.stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case frames <- frame:
			case <-l.stream.Context().Done():
				return
			}
		}
	}()
	return frames, ended
}

// serve is the only place that writes to the stream.
func (l *link) serve(frames <-chan *taskyardv1.ServerFrame, ended <-chan error) error {
	beat := time.NewTicker(l.worker.lease.interval)
	defer beat.Stop()
	for {
		if err := l.tell(); err != nil {
			return l.status(err)
		}
		if l.draining && l.worker.done() {
			return l.leave(ended)
		}
		select {
		case frame := <-frames:
			if err := l.apply(frame); err != nil {
				return err
			}
		case <-l.worker.wake:
		case <-beat.C:
			l.worker.checkLease()
			if l.worker.lease.doubtful() {
				return unavailable("the server does not answer heartbeats")
			}
			l.heartbeat++
			l.beats[l.heartbeat] = time.Now()
			if err := l.stream.Send(&taskyardv1.AgentFrame{Heartbeat: l.heartbeat}); err != nil {
				return l.status(err)
			}
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return unavailable("the server ended the stream")
			}
			return err
		}
	}
}

// apply does what a frame says.
func (l *link) apply(frame *taskyardv1.ServerFrame) error {
	w := l.worker
	for _, definition := range frame.Templates {
		l.templates[definition.Index] = definition.Template
	}
	for _, chunk := range frame.Chunks {
		template := l.templates[chunk.Template]
		if template == nil {
			return unavailable(fmt.Sprintf("template %d was never defined on this stream", chunk.Template))
		}
		l.received += len(chunk.RunIds) / 16
		if err := w.assign(chunk, template); err != nil {
			return err
		}
	}
	w.acknowledged(frame.ReportedUpTo)
	w.cancel(frame.Cancel)
	if sent, ok := l.beats[frame.Heartbeat]; ok {
		w.mu.Lock()
		w.lease.answered = sent
		w.mu.Unlock()
		delete(l.beats, frame.Heartbeat)
	}
	if frame.Drain {
		w.Drain()
	}
	if frame.ReconnectAfterMs > 0 {
		time.Sleep(time.Duration(frame.ReconnectAfterMs) * time.Millisecond)
		return unavailable("the server is restarting")
	}
	return nil
}

// tell sends what has not been sent on this stream: batches, what has started, credit.
func (l *link) tell() error {
	for _, frame := range l.worker.frames(l.sent) {
		l.sent = max(l.sent, frame.ReportNumber)
		if err := l.stream.Send(frame); err != nil {
			return err
		}
	}
	rest := &taskyardv1.AgentFrame{Draining: l.worker.isDraining() && !l.draining}
	l.draining = l.draining || rest.Draining
	// Credit counts everything since the stream opened: what came, and what there is room for now. So it must
	// be raised by hand after each report.
	room, chunkSize := l.worker.room()
	if total := l.received + room; total > l.granted && !l.draining {
		l.granted = total
		rest.Credit = &taskyardv1.Credit{GrantedTotal: uint64(total), ChunkSize: uint32(chunkSize)}
	}
	if rest.Credit == nil && !rest.Draining {
		return nil
	}
	return l.stream.Send(rest)
}

// leave ends the stream well; that the server answers is a courtesy.
func (l *link) leave(ended <-chan error) error {
	err := l.stream.CloseSend()
	select {
	case <-ended:
	case <-time.After(time.Second):
	}
	return err
}

// status returns why a stream has ended; a write only ever says that it has.
func (l *link) status(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if _, err := l.stream.Recv(); err != nil {
			return err
		}
	}
}

// frames returns what is to be sent after a number: batches, and what has started since.
func (w *Worker) frames(after uint64) []*taskyardv1.AgentFrame {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numberNews()
	var frames []*taskyardv1.AgentFrame
	if len(w.started) > 0 {
		frames = append(frames, &taskyardv1.AgentFrame{Started: w.started})
		w.started = nil
	}
	for _, sent := range w.outbox {
		if request := sent.request; request.ReportNumber > after {
			frames = append(frames, &taskyardv1.AgentFrame{
				ReportNumber: request.ReportNumber,
				Reports:      request.Reports,
				Lost:         request.Lost,
				Cancelled:    request.Cancelled,
				Logs:         request.Logs,
			})
		}
	}
	return frames
}

func (w *Worker) isDraining() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.draining
}
