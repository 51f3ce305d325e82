package fault_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

func TestFromKeepsTheCodeThroughWrapping(t *testing.T) {
	inner := fault.New(fault.TooLarge, "The body is larger than %d bytes.", 10)
	got := fault.From(fmt.Errorf("receive upload: %w", inner))
	if got != inner {
		t.Errorf("From returned %v, want the fault inside", got)
	}
}

func TestFromHidesTheCauseOfAnInternalError(t *testing.T) {
	cause := errors.New("open /var/lib/secret: permission denied")
	got := fault.From(cause)
	if got.Code != fault.Internal {
		t.Errorf("code %q, want %q", got.Code, fault.Internal)
	}
	if strings.Contains(got.Detail, "secret") {
		t.Errorf("the public detail %q shows the cause", got.Detail)
	}
	if !errors.Is(got, cause) {
		t.Error("the cause is lost for the log")
	}
}

func TestFullDiskHasItsOwnCodeWhereverItIsMet(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		err := fmt.Errorf("publish: %w", &os.PathError{Op: "write", Path: "/x", Err: errno})
		if got := fault.CodeOf(err); got != fault.InsufficientStorage {
			t.Errorf("%v: code %q, want %q", errno, got, fault.InsufficientStorage)
		}
	}
}

func TestCodeOfNoErrorIsEmpty(t *testing.T) {
	if got := fault.CodeOf(nil); got != "" {
		t.Errorf("CodeOf(nil) = %q", got)
	}
}

func TestCauseFollowsTheDetailAsOneLine(t *testing.T) {
	err := fault.Wrap(fault.CorruptImage, errors.New("row 7"), "The image is damaged.")
	if got, want := err.Error(), "corrupt_image: The image is damaged: row 7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
