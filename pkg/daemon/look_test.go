package daemon_test

import (
	"bytes"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/optimizerd/optimizerd/pkg/config"
	"github.com/optimizerd/optimizerd/pkg/daemon/daemontest"
	"github.com/optimizerd/optimizerd/pkg/manifest"
)

// blackWebP is a libwebp whose larger images come out black. The self-test is too
// small for it, as it was for the encoder whose images came out empty.
const blackWebP = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <webp/encode.h>

int
WebPEncode(const WebPConfig *config, WebPPicture *picture)
{
	int (*encode)(const WebPConfig *, WebPPicture *) = dlsym(RTLD_NEXT, "WebPEncode");

	if (picture->width > 100) {
		memset(picture->y, 16, (size_t) picture->y_stride * picture->height);
		memset(picture->u, 128, (size_t) picture->uv_stride * ((picture->height + 1) / 2));
		memset(picture->v, 128, (size_t) picture->uv_stride * ((picture->height + 1) / 2));
	}
	return encode(config, picture);
}
`

// brokenCodec is a codec with that libwebp; if once is set, only the first
// process has it.
func brokenCodec(t *testing.T, once bool) string {
	t.Helper()
	codec, err := daemontest.Codec()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	source, library := filepath.Join(dir, "black.c"), filepath.Join(dir, "black.so")
	if err := os.WriteFile(source, []byte(blackWebP), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	condition := "true"
	if once {
		condition = fmt.Sprintf("mkdir %q 2>/dev/null", filepath.Join(dir, "started"))
	}
	script := fmt.Sprintf("#!/bin/sh\nif %s; then export LD_PRELOAD=%q; fi\nexec %q \"$@\"\n", condition, library, codec)
	path := filepath.Join(dir, "optimizerd-codec")
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file that does not show the image is never published: the image is encoded
// again in a fresh process.
func TestWrongFileCostsAnotherAttempt(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Codec.Path = brokenCodec(t, true) })
	var m manifest.Manifest
	s.Upload(daemontest.BimgImage(t, "test_smart_crop.jpg")).Decode(t, &m, 201)
	for _, v := range m.Variants {
		if v.Format != "jpeg" && v.Format != "webp" {
			continue
		}
		a := s.Get("/files/" + v.Key)
		if v.Format == "jpeg" {
			if _, _, err := image.Decode(bytes.NewReader(a.Body)); err != nil {
				t.Errorf("%s: %v", v.Key, err)
			}
		}
		if v.Format == "webp" && v.Width > 100 && len(a.Body) < 1000 {
			t.Errorf("%s has %d bytes, as a black image has", v.Key, len(a.Body))
		}
	}
	if n := s.Logs.FilterMessage("codec crashed").Len(); n != 1 {
		t.Errorf("%d attempts failed, want the first", n)
	}
}

// An encoder that is broken for good gives an error and no set.
func TestWrongFilesAreNotPublished(t *testing.T) {
	t.Parallel()
	s := daemontest.Start(t, func(c *config.Config) { c.Codec.Path = brokenCodec(t, false) })
	s.Upload(daemontest.BimgImage(t, "test_smart_crop.jpg")).CheckProblem(t, "processing_failed")
	if names := s.Names("files"); len(names) > 1 { // .staging
		t.Errorf("published: %v", names)
	}
	for _, line := range s.Logs.FilterMessage("codec crashed").All() {
		if reason := line.ContextMap()["reason"].(string); !strings.Contains(reason, "WebP image of 128") || !strings.Contains(reason, "mean color") {
			t.Errorf("the log does not say what is wrong: %s", reason)
		}
	}
}
