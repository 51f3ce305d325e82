package codec

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/ladder"
	"github.com/optimizerd/optimizerd/pkg/strictjson"
)

// Both ends of a connected pair of stream sockets exchange frames: a length of
// four bytes, big-endian, followed by that many bytes of JSON. A request
// carries the descriptor of its source with its first byte. A reply that
// announces a variant is followed by the variant's bytes.
//
//	parent                            child
//	  ◄────────────────── testing … ×n
//	  ◄──────────────────────────── hello
//	request + descriptor ──────────►
//	  ◄─────────────────────────── opened
//	  ◄─────────── variant + its bytes … ×n
//	  ◄────────────────── done, or failed
//	request …

// maxFrame limits the size of a frame, in bytes, and so the memory a peer can
// claim.
const maxFrame = 64 << 10

// request requests the ladder of the source whose descriptor it carries.
type request struct {
	Recipe ladder.Recipe `json:"recipe"`
	Limits ladder.Limits `json:"limits"`
	CPU    time.Duration `json:"cpu"` // processor time for it, besides the wall-clock timeout
}

// reply is one message of a child. Exactly one field is set.
type reply struct {
	Testing *string         `json:"testing,omitempty"` // the next part of the self-test
	Hello   *About          `json:"hello,omitempty"`
	Opened  *ladder.Source  `json:"opened,omitempty"`
	Variant *ladder.Variant `json:"variant,omitempty"` // followed by its Bytes
	Done    *ladder.Summary `json:"done,omitempty"`
	Failed  *failure        `json:"failed,omitempty"`
}

// failure is a serialized fault; the cause is text for the log.
type failure struct {
	Code   fault.Code `json:"code"`
	Detail string     `json:"detail"`
	Cause  string     `json:"cause,omitempty"`
}

func failureOf(err error) *failure {
	f := fault.From(err)
	out := &failure{Code: f.Code, Detail: f.Detail}
	if cause := errors.Unwrap(f); cause != nil {
		out.Cause = cause.Error()
	}
	return out
}

// reason returns the description of a failure for the log.
func (f *failure) reason() string {
	if f.Cause == "" {
		return sentence(*f)
	}
	return strings.TrimSuffix(sentence(*f), ".") + ": " + printable(f.Cause, maxCause)
}

func (f *failure) fault() *fault.Error {
	if f.Cause == "" {
		return fault.New(f.Code, "%s", sentence(*f))
	}
	return fault.Wrap(f.Code, errors.New(printable(f.Cause, maxCause)), "%s", sentence(*f))
}

// encodeFrame returns message as a frame.
func encodeFrame(message any) ([]byte, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encode frame: %w", err)
	}
	if len(body) > maxFrame {
		return nil, fmt.Errorf("encode frame: %d bytes exceed the limit of %d", len(body), maxFrame)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...), nil
}

// readFrame reads the body of a frame with the given header and decodes it into
// message. Unknown fields are errors.
func readFrame(r io.Reader, head [4]byte, message any) error {
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return fmt.Errorf("read frame: %d bytes exceed the limit of %d", n, maxFrame)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	if err := strictjson.Unmarshal(body, message); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	return nil
}

// readReply reads the child's next frame. It returns io.EOF if the child closed
// the socket between two frames.
func readReply(r io.Reader) (reply, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return reply{}, err
	}
	var m reply
	if err := readFrame(r, head, &m); err != nil {
		return reply{}, err
	}
	set := 0
	for _, is := range []bool{m.Testing != nil, m.Hello != nil, m.Opened != nil, m.Variant != nil, m.Done != nil, m.Failed != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return reply{}, fmt.Errorf("read frame: %d messages in one frame", set)
	}
	return m, nil
}

// sendRequest sends m with src's descriptor.
func sendRequest(conn *net.UnixConn, m request, src *os.File) error {
	frame, err := encodeFrame(m)
	if err != nil {
		return err
	}
	n, _, err := conn.WriteMsgUnix(frame, syscall.UnixRights(int(src.Fd())), nil)
	if err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	if n < len(frame) { // the descriptor went with the first bytes
		_, err = conn.Write(frame[n:])
	}
	return err
}

// receiveRequest receives what sendRequest sent. The caller closes the file. It
// returns io.EOF if the parent closed the socket.
func receiveRequest(conn *net.UnixConn) (request, *os.File, error) {
	var head [4]byte
	oob := make([]byte, syscall.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(head[:], oob)
	if err != nil {
		return request{}, nil, err
	}
	if n == 0 {
		return request{}, nil, io.EOF
	}
	src, err := fileOf(oob[:oobn])
	if err != nil {
		return request{}, nil, err
	}
	var m request
	if _, err = io.ReadFull(conn, head[n:]); err == nil {
		err = readFrame(conn, head, &m)
	}
	if err != nil {
		_ = src.Close()
		return request{}, nil, err
	}
	return m, src, nil
}

// fileOf returns the single descriptor in a control message.
func fileOf(oob []byte) (*os.File, error) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive request: no descriptor attached")
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive request: %d descriptors attached", len(fds))
	}
	syscall.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "source"), nil
}
