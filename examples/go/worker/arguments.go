package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	taskyardv1 "taskyard/api/v1"
	"taskyard/yard"
)

// reference is the only key of an object that stands for the result of an upstream run.
const reference = "$taskyard.run"

// reserved keys are the contract's, or the user's own with one dollar more than is meant.
var reserved = regexp.MustCompile(`^\$+taskyard\.`)

// inputs are results of upstream runs by id, each as JSON.
type inputs map[string]json.RawMessage

// readInputs reads what a chunk carries for one of its runs.
func readInputs(body *taskyardv1.ChunkBody, position int) (inputs, error) {
	found := inputs{}
	others := map[string]*taskyardv1.RunOutcome{}
	for _, other := range body.Others {
		others[string(other.RunId)] = other
	}
	for at, id := range body.InputIds {
		if int(body.InputPositions[at]) != position {
			continue
		}
		value := body.Inputs[at] // in the encoding of this chunk's arguments
		if other := others[string(id)]; other != nil {
			payload := other.Result
			switch {
			case other.State != taskyardv1.RunState_RUN_STATE_COMPLETED:
				return nil, fmt.Errorf("upstream run %s has no result: %s", yard.FormatID(id), other.Message)
			case payload.GetBlob() != nil:
				return nil, errors.New("this worker fetches no blobs")
			case payload.GetEncoding() != yard.JSON || payload.GetKeyId() != "":
				return nil, fmt.Errorf("the result of upstream run %s is in %q", yard.FormatID(id), payload.GetEncoding())
			}
			value = payload.GetData()
		}
		found[yard.FormatID(id)] = value
	}
	return found, nil
}

// readArguments reads {"args": [...], "kwargs": {...}}; nothing at all means no arguments.
func readArguments(text []byte, inputs inputs, call *Call) error {
	if len(text) == 0 {
		return nil
	}
	var envelope struct {
		Args   []any          `json:"args"`
		Kwargs map[string]any `json:"kwargs"`
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	decoder.UseNumber() // 2^53 + 1 is not 2^53
	if err := decoder.Decode(&envelope); err != nil {
		return fmt.Errorf(`the arguments are not {"args": [...], "kwargs": {...}}: %w`, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the arguments")
	}
	call.Kwargs = map[string]json.RawMessage{}
	for _, arg := range envelope.Args {
		value, err := inputs.written(arg)
		if err != nil {
			return err
		}
		call.Args = append(call.Args, value)
	}
	for name, arg := range envelope.Kwargs {
		value, err := inputs.written(arg)
		if err != nil {
			return err
		}
		if name, err = unescaped(name); err != nil {
			return err
		}
		call.Kwargs[name] = value
	}
	return nil
}

// written returns an argument as JSON, with results in the places of references.
func (i inputs) written(value any) (json.RawMessage, error) {
	resolved, err := i.resolve(value)
	if err != nil {
		return nil, err
	}
	return json.Marshal(resolved)
}

func (i inputs) resolve(value any) (any, error) {
	var err error
	switch value := value.(type) {
	case []any:
		for at := range value {
			if value[at], err = i.resolve(value[at]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if id, ok := value[reference]; ok {
			return i.upstream(id, len(value))
		}
		object := make(map[string]any, len(value))
		for key, part := range value {
			if key, err = unescaped(key); err != nil {
				return nil, err
			}
			if object[key], err = i.resolve(part); err != nil {
				return nil, err
			}
		}
		return object, nil
	}
	return value, nil
}

func (i inputs) upstream(id any, keys int) (any, error) {
	text, _ := id.(string)
	if result, ok := i[text]; ok && keys == 1 {
		return result, nil // a RawMessage: what is in it is the user's, references or not
	}
	return nil, fmt.Errorf("the result of upstream run %v did not come along", id)
}

func unescaped(key string) (string, error) {
	switch {
	case !reserved.MatchString(key):
		return key, nil
	case key[1] == '$':
		return key[1:], nil
	}
	return "", fmt.Errorf("the key %q is reserved, and means nothing here", key)
}
