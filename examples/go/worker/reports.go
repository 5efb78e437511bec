package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	taskyardv1 "taskyard/api/v1"
)

// news is what happened to runs since the last batch.
type news struct {
	rows      []row // of runs that ended, in order
	lost      []*taskyardv1.LostRun
	cancelled []*taskyardv1.RunKey
	logs      *taskyardv1.LogBatch
}

// row is one run in the columns of a report.
type row struct {
	run       *run
	durations uint64
	result    []byte
	exception *taskyardv1.ReportException
}

// batch is what goes out under one number, and is kept until that number is acknowledged. A frame of a stream and
// a call of ReportBatch have the same fields.
type batch struct {
	request *taskyardv1.ReportBatchRequest
	keys    []*taskyardv1.RunKey
}

func (n *news) empty() bool {
	return len(n.rows) == 0 && len(n.lost) == 0 && len(n.cancelled) == 0 && n.logs == nil
}

// begun notes that a run executes now.
func (w *Worker) begun(run *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	run.began = time.Now()
	if w.find(run.key) == run {
		w.started = append(w.started, run.start())
		w.nudge()
	}
}

// ended notes how a run ended, whichever way.
func (w *Worker) ended(run *run, value any, err error) {
	switch {
	case errors.Is(err, errDropped):
		w.settle(run, func(*news) {})
	case errors.Is(err, errCancelled):
		w.settle(run, func(n *news) { n.cancelled = append(n.cancelled, run.key) })
	case errors.Is(err, errLeaseLost):
		w.lost(run, taskyardv1.StateReason_STATE_REASON_AGENT_LOST, err.Error())
	case errors.Is(err, errTimedOut):
		w.lost(run, taskyardv1.StateReason_STATE_REASON_TIMED_OUT, err.Error())
	default:
		ended := w.outcome(run, value, err)
		w.settle(run, func(n *news) { n.rows = append(n.rows, ended) })
	}
}

func (w *Worker) lost(run *run, reason taskyardv1.StateReason, message string) {
	w.settle(run, func(n *news) {
		n.lost = append(n.lost, &taskyardv1.LostRun{Key: run.key, Reason: reason, Message: message})
	})
}

// settle forgets a run and notes what became of it, unless it was dropped meanwhile.
func (w *Worker) settle(run *run, note func(*news)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.find(run.key) == run {
		delete(w.held, string(run.key.RunId))
		note(&w.news)
	}
	w.nudge()
}

// outcome writes a result or a failure.
func (w *Worker) outcome(run *run, value any, err error) row {
	row := row{run: run, durations: uint64(time.Since(run.began).Microseconds())}
	refused := false
	if err == nil {
		row.result, err = json.Marshal(value)
		if err == nil && w.limit > 0 && uint64(len(row.result)) > w.limit {
			err = fmt.Errorf("the result has %d bytes, and this worker uploads no blobs", len(row.result))
		}
		refused = err != nil
	}
	if err == nil {
		return row
	}
	row.result = nil
	text := strings.ToValidUTF8(err.Error(), "?") // protobuf takes nothing else
	exception := &taskyardv1.ReportException{
		Kind:    taskyardv1.ReportKind_REPORT_KIND_FAILED,
		Message: text,
		Failure: &taskyardv1.Failure{Type: fmt.Sprintf("%T", err), Message: text, Source: "go"},
	}
	var own Failure
	if errors.As(err, &own) {
		exception.Failure.Type, exception.NotRetriable = own.Type, own.NotRetriable
	}
	if refused {
		exception.Reason, exception.NotRetriable = taskyardv1.StateReason_STATE_REASON_RESULT_REFUSED, true
	}
	row.exception = exception
	return row
}

// logged keeps a record of a run's log.
func (w *Worker) logged(run *run, logger, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.news.logs == nil {
		w.news.logs = &taskyardv1.LogBatch{}
	}
	logs := w.news.logs
	logs.RunIds = append(logs.RunIds, run.key.RunId)
	logs.AtUs = append(logs.AtUs, time.Now().UnixMicro())
	logs.Levels = append(logs.Levels, 20)
	logs.Loggers = append(logs.Loggers, logger)
	logs.Messages = append(logs.Messages, strings.ToValidUTF8(text, "?"))
	logs.RunNames = append(logs.RunNames, "")
	w.nudge()
}

// numberNews puts everything new under the next number. With the lock held.
func (w *Worker) numberNews() {
	if w.news.empty() {
		return
	}
	w.number++
	latest := w.news
	w.news = news{}
	sent := &batch{request: &taskyardv1.ReportBatchRequest{
		AgentId:      w.options.Name,
		SessionId:    w.sessionID,
		ReportNumber: w.number,
		Reports:      columnsOf(latest.rows),
		Lost:         latest.lost,
		Cancelled:    latest.cancelled,
		Logs:         latest.logs,
	}}
	for _, row := range latest.rows {
		sent.keys = append(sent.keys, row.run.key)
	}
	for _, lost := range latest.lost {
		sent.keys = append(sent.keys, lost.Key)
	}
	sent.keys = append(sent.keys, latest.cancelled...)
	w.outbox = append(w.outbox, sent)
}

// acknowledged forgets what the server has made durable.
func (w *Worker) acknowledged(upTo uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.outbox) > 0 && w.outbox[0].request.ReportNumber <= upTo {
		w.outbox = w.outbox[1:]
	}
}

// columnsOf writes rows as reports. The epochs of a report follow on: a gap begins another one.
func columnsOf(rows []row) []*taskyardv1.ReportChunk {
	var reports []*taskyardv1.ReportChunk
	for start := 0; start < len(rows); {
		end := start + 1
		for end < len(rows) && rows[end].run.key.Epoch == rows[end-1].run.key.Epoch+1 {
			end++
		}
		reports = append(reports, reportOf(rows[start:end]))
		start = end
	}
	return reports
}

func reportOf(rows []row) *taskyardv1.ReportChunk {
	base := rows[0].run.began
	report := &taskyardv1.ReportChunk{FirstEpoch: rows[0].run.key.Epoch}
	columns := &taskyardv1.ReportColumns{BaseUs: base.UnixMicro()}
	for at, row := range rows {
		report.RunIds = append(report.RunIds, row.run.key.RunId...)
		columns.StartedUs = append(columns.StartedUs, uint64(max(0, row.run.began.Sub(base).Microseconds())))
		columns.DurationsUs = append(columns.DurationsUs, row.durations)
		columns.Results = append(columns.Results, row.result)
		if row.exception != nil {
			row.exception.Position = uint32(at)
			columns.Exceptions = append(columns.Exceptions, row.exception)
		}
	}
	var err error
	if report.Columns, err = proto.Marshal(columns); err != nil {
		panic(err) // of texts that are no UTF-8, of which there are none
	}
	return report
}
