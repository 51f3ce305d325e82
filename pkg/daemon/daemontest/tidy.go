package daemontest

import (
	"fmt"
	"net/http"
	"path/filepath"
	"time"
)

// Delete deletes a set, so that CheckNothingLeft sees what else is left.
func (c *Client) Delete(id string) error {
	a, err := c.Try(http.MethodDelete, "/v1/images/"+id, nil)
	if err == nil && a.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("DELETE %s: got %s, want 204", id, a.Status)
	}
	return err
}

// leftovers are the files of uploads and jobs.
func (c *Client) leftovers() []string {
	c.T.Helper()
	var left []string
	dirs := []string{"spool", "queue/pending", "queue/running", "queue/done", "queue/failed"}
	if c.Config.Storage.S3.Enabled() {
		dirs = append(dirs, "index/deleting")
	} else {
		dirs = append(dirs, "files", "files/.staging")
	}
	for _, dir := range dirs {
		for _, name := range c.Names(dir) {
			if name != ".staging" {
				left = append(left, dir+"/"+name)
			}
		}
	}
	return left
}

// CheckNothingLeft waits until no upload or job has a file: files that are no longer
// needed are deleted just after the response.
func (c *Client) CheckNothingLeft() {
	c.T.Helper()
	c.goes("files of uploads", c.leftovers)
}

// CheckEmpty waits until a directory of the data directory is empty.
func (c *Client) CheckEmpty(elem ...string) {
	c.T.Helper()
	c.goes(filepath.Join(elem...), func() []string { return c.Names(elem...) })
}

func (c *Client) goes(what string, left func() []string) {
	c.T.Helper()
	var names []string
	deadline := time.Now().Add(Patience)
	for names = left(); len(names) > 0 && time.Now().Before(deadline); names = left() {
		time.Sleep(5 * time.Millisecond)
	}
	if len(names) > 0 {
		c.T.Fatalf("%s are left behind: %v", what, names)
	}
}

// CheckServes uploads a valid image, checks its set, and deletes the set.
func (c *Client) CheckServes() {
	c.T.Helper()
	c.CheckMakes(SmallJPEG(c.T, 1<<40))
}

// CheckMakes processes a valid image, checks its set, and deletes the set.
func (c *Client) CheckMakes(source []byte) {
	c.T.Helper()
	a, err := c.TryUpload(source)
	if err != nil {
		c.T.Fatal(err)
	}
	if a.StatusCode != http.StatusCreated {
		c.T.Fatalf("a good upload: got %s %s, want 201", a.Status, a.Body)
	}
	m, err := c.CheckSet(a, source)
	if err == nil {
		err = c.Delete(m.ID)
	}
	if err != nil {
		c.T.Fatal(err)
	}
}
