package main

import (
	"encoding/json"
	"strings"
	"testing"
)

const upstreamRun = "01900000-0000-7000-8000-000000000000"

func TestArguments(t *testing.T) {
	have := inputs{upstreamRun: json.RawMessage(`{"$taskyard.run":"is data here"}`)}
	for name, example := range map[string]struct{ text, first, broken string }{
		"plain":               {text: `{"args":[1.50]}`, first: `1.50`},
		"large numbers":       {text: `{"args":[9007199254740993]}`, first: `9007199254740993`},
		"reference":           {text: `{"args":[{"$taskyard.run":"` + upstreamRun + `"}]}`, first: `{"$taskyard.run":"is data here"}`},
		"deep reference":      {text: `{"args":[[{"a":{"$taskyard.run":"` + upstreamRun + `"}}]]}`, first: `[{"a":{"$taskyard.run":"is data here"}}]`},
		"escaped key":         {text: `{"args":[{"$$taskyard.run":1}]}`, first: `{"$taskyard.run":1}`},
		"dollars of the user": {text: `{"args":[{"$ref":1}]}`, first: `{"$ref":1}`},
		"unknown run":         {text: `{"args":[{"$taskyard.run":"0"}]}`, broken: "did not come along"},
		"no reference":        {text: `{"args":[{"$taskyard.run":"` + upstreamRun + `","b":1}]}`, broken: "did not come along"},
		"reserved key":        {text: `{"args":[{"$taskyard.other":1}]}`, broken: "is reserved"},
		"no envelope":         {text: `[1]`, broken: "the arguments are not"},
		"unknown part":        {text: `{"arguments":[1]}`, broken: "the arguments are not"},
		"trailing text":       {text: `{"args":[1]} 2`, broken: "behind"},
	} {
		t.Run(name, func(t *testing.T) {
			var call Call
			err := readArguments([]byte(example.text), have, &call)
			if example.broken != "" {
				if err == nil || !strings.Contains(err.Error(), example.broken) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || len(call.Args) != 1 || string(call.Args[0]) != example.first {
				t.Errorf("got %s, %v", call.Args, err)
			}
		})
	}
}
