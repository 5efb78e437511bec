package main

import (
	"sync"
	"time"

	taskyardv1 "taskyard/api/v1"
	"taskyard/yard"
)

// Options say what a worker is.
type Options struct {
	Name   string
	Queues []string
	Slots  int
	Window int // runs to hold at most, those that execute included
}

// Worker holds runs, executes them and keeps what there is to tell of them until it is durable. How it talks to
// the control plane, by Stream or by Poll, is apart from that: either may be lost and begun anew at any time.
type Worker struct {
	options   Options
	tasks     map[string]Task
	sessionID []byte
	wake      chan struct{} // there is something to tell
	work      chan chunk

	mu       sync.Mutex
	held     map[string]*run // assigned, and not ended here
	news     news            // not in a numbered batch yet
	outbox   []*batch        // numbered, and not acknowledged
	number   uint64          // of the newest batch
	started  []*taskyardv1.StartedRun
	draining bool
	limit    uint64 // bytes of a result

	lease lease
}

// chunk is what one slot executes in order.
type chunk struct {
	template *taskyardv1.RunTemplate
	runs     []*run
}

// NewWorker returns a worker that has not said hello to anybody.
func NewWorker(options Options, tasks map[string]Task) *Worker {
	w := &Worker{
		options:   options,
		tasks:     tasks,
		sessionID: yard.NewID(),
		wake:      make(chan struct{}, 1),
		work:      make(chan chunk, 64*options.Window),
		held:      map[string]*run{},
		lease:     lease{length: 30 * time.Second, interval: 5 * time.Second},
	}
	for range options.Slots {
		go w.execute()
	}
	return w
}

// Drain takes no more work; Stream or Poll returns when what is held has ended and was reported.
func (w *Worker) Drain() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.draining = true
	w.nudge()
}

// nudge says that there is something to tell.
func (w *Worker) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// hello introduces the worker, and restates everything it was ever given and that neither side has ended: what is
// not named counts as never received, and is given to others.
func (w *Worker) hello(stream uint64) *taskyardv1.AgentHello {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.numberNews() // what ended is held, too, until its report is acknowledged
	hello := &taskyardv1.AgentHello{
		ProtocolMin:  2,
		ProtocolMax:  2,
		AgentId:      w.options.Name,
		SessionId:    w.sessionID,
		Name:         w.options.Name,
		Queues:       w.options.Queues,
		Slots:        uint32(w.options.Slots),
		Capabilities: []string{yard.JSON, "code/name"},
		AgentVersion: "examples/go",
		StreamNumber: stream,
	}
	for name := range w.tasks {
		hello.Tasks = append(hello.Tasks, &taskyardv1.TaskOffer{Name: name, Encodings: []string{yard.JSON}})
	}
	for _, sent := range w.outbox {
		hello.Held = append(hello.Held, sent.keys...)
	}
	w.started = nil
	for _, run := range w.held {
		hello.Held = append(hello.Held, run.key)
		if !run.began.IsZero() {
			w.started = append(w.started, run.start()) // said again to whoever welcomes us
		}
	}
	return hello
}

// welcomed takes in what a server says to a hello that was sent at a time.
func (w *Worker) welcomed(welcome *taskyardv1.AgentWelcome, sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = welcome.MaxInlineBytes
	w.lease.grant(welcome, sent)
	for _, key := range welcome.Drop {
		// It is somebody else's by now, or was cancelled: its end is nobody's business.
		if run := w.find(key); run != nil {
			delete(w.held, string(key.RunId))
			run.stop(errDropped)
		}
	}
}

// assign takes a chunk; its epochs follow on from the first.
func (w *Worker) assign(assigned *taskyardv1.AssignChunk, template *taskyardv1.RunTemplate) error {
	runs, err := readChunk(assigned)
	if err != nil {
		return err
	}
	w.mu.Lock()
	for _, run := range runs {
		if before := w.held[string(run.key.RunId)]; before != nil {
			before.stop(errDropped) // the server has taken it back meanwhile, and gives it anew
		}
		w.held[string(run.key.RunId)] = run
	}
	w.mu.Unlock()
	w.work <- chunk{template, runs} // far more room than credit: whoever reads frames must not wait here
	return nil
}

// cancel ends runs. The confirmation follows when they have ended, or their report if they were faster.
func (w *Worker) cancel(keys []*taskyardv1.RunKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		if run := w.find(key); run != nil {
			run.stop(errCancelled)
		}
	}
}

// checkLease stops what executes once the server has not answered for a lease: others may execute those runs now.
// What has not started stays: whether the server still counts on it, its answer to the next hello says.
func (w *Worker) checkLease() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.lease.lapsed() {
		return
	}
	for _, run := range w.held {
		if !run.began.IsZero() {
			run.stop(errLeaseLost)
		}
	}
}

// room returns how many more runs fit, and how many at most into one chunk: every slot shall have some.
func (w *Worker) room() (runs, chunkSize int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.draining {
		return 0, 1
	}
	return max(0, w.options.Window-len(w.held)), max(1, w.options.Window/w.options.Slots/2)
}

// done says whether a worker that drains has nothing left to do or to tell.
func (w *Worker) done() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.draining && len(w.held) == 0 && len(w.outbox) == 0 && w.news.empty()
}

// find returns the run of a key, unless it is held under another epoch. With the lock held.
func (w *Worker) find(key *taskyardv1.RunKey) *run {
	run := w.held[string(key.RunId)]
	if run == nil || run.key.Epoch != key.Epoch {
		return nil
	}
	return run
}

// lease is the time within which the server must answer. It is counted from when the question was sent.
type lease struct {
	length   time.Duration
	interval time.Duration // between heartbeats
	answered time.Time
}

func (l *lease) grant(welcome *taskyardv1.AgentWelcome, sent time.Time) {
	l.length = time.Duration(welcome.LeaseMs) * time.Millisecond
	l.interval = max(50*time.Millisecond, time.Duration(welcome.HeartbeatMs)*time.Millisecond)
	l.answered = sent
}

func (l *lease) lapsed() bool {
	return !l.answered.IsZero() && time.Since(l.answered) > l.length
}

// doubtful says whether another connection is more likely to help than patience.
func (l *lease) doubtful() bool {
	return time.Since(l.answered) > l.length/2
}
