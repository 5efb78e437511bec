package yard

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // RetryInfo is among the details
	_ "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TestGolden checks that the canonical messages of the contract are the same in Go.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile("../../../tests/conformance/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var messages []struct {
		Name, Message, Hex string
		JSON               json.RawMessage
	}
	if err := json.Unmarshal(text, &messages); err != nil || len(messages) == 0 {
		t.Fatalf("%d messages: %v", len(messages), err)
	}
	for _, golden := range messages {
		t.Run(golden.Name, func(t *testing.T) {
			kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(golden.Message))
			if err != nil {
				t.Fatal(err)
			}
			message := kind.New().Interface()
			if err := protojson.Unmarshal(golden.JSON, message); err != nil {
				t.Fatal(err)
			}
			written, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(written); got != golden.Hex {
				t.Errorf("got  %s\nwant %s", got, golden.Hex)
			}
		})
	}
}
