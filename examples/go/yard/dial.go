// Package yard holds what a client and a worker have in common: how to connect, how to make ids, and how to read
// what a refused call says.
package yard

import (
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// FrameBytes is the largest message that the contract demands a peer to receive; gRPC's own limit is 4 MiB.
const FrameBytes = 16 << 20

// JSON is the encoding that every language knows.
const JSON = "json/plain"

// Dial connects to a control plane. The connection is made with the first call, and again when it is lost.
func Dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(FrameBytes), grpc.MaxCallSendMsgSize(FrameBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
		// Calls that may be repeated are repeated by whoever makes them: only they know which.
		grpc.WithDisableRetry(),
	)
}

// NewID returns an id for a run or a session: a UUID of version 7 whose last two bytes name the shard, which is 0
// unless the server has told of others.
func NewID() []byte {
	id := uuid.Must(uuid.NewV7())
	id[14], id[15] = 0, 0
	return id[:]
}

// ParseID reads an id as people write it.
func ParseID(text string) ([]byte, error) {
	id, err := uuid.Parse(text)
	return id[:], err
}

// FormatID writes an id for people.
func FormatID(id []byte) string {
	return uuid.UUID(id).String()
}
