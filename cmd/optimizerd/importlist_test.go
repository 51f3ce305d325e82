package main

import (
	"slices"
	"strings"
	"testing"
)

// Editors on Windows write a byte order mark first.
func TestListMayBeginWithAByteOrderMark(t *testing.T) {
	urls, err := readList(strings.NewReader("\ufeffhttps://example.com/1.jpg\r\nhttps://example.com/2.jpg\r\n"))
	if want := []string{"https://example.com/1.jpg", "https://example.com/2.jpg"}; err != nil || !slices.Equal(urls, want) {
		t.Errorf("got %q, %v, want %q", urls, err, want)
	}
	if _, err := readList(strings.NewReader(strings.Repeat("x", 1<<20))); err == nil || !strings.Contains(err.Error(), "is it a list of URLs?") {
		t.Errorf("of what is no list: %v", err)
	}
}
