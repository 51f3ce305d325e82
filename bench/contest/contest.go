// Package contest is what the comparison and its contestants say to each
// other: JSON, a line at a time. A contestant is a process that lasts, so that
// its start is not measured. Its first line is a Hello; from then on it gives
// one Answer for each Request.
package contest

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Hello is a contestant's first line.
type Hello struct {
	About string `json:"about"` // its name, and the versions of what it is made of
}

// Variant is one file to be made.
type Variant struct {
	Name    string        `json:"name"`
	Format  ladder.Format `json:"format"`
	Width   int           `json:"width"` // of the upright image; its height follows
	Quality int           `json:"quality"`
	Effort  int           `json:"effort"`
}

// Request asks for the variants of a photo, as files in a folder that exists.
type Request struct {
	Photo    string    `json:"photo"`
	Folder   string    `json:"folder"`
	Variants []Variant `json:"variants"`
}

// Answer says that the files are there, or why they are not.
type Answer struct {
	Error string `json:"error,omitempty"`
	Parts *Parts `json:"parts,omitempty"`
}

// Parts is CPU time in seconds, from a contestant that knows better than the
// clock of its process what is to be counted.
type Parts struct {
	Decode float64            `json:"decode"`
	Encode map[string]float64 `json:"encode"` // by a variant's name
}

// Total is all parts together.
func (p Parts) Total() float64 {
	total := p.Decode
	for _, seconds := range p.Encode {
		total += seconds
	}
	return total
}

// Serve is a contestant's main loop: it ends with its input.
func Serve(in io.Reader, out io.Writer, about string, render func(Request) (*Parts, error)) error {
	requests, answers := json.NewDecoder(in), json.NewEncoder(out)
	if err := answers.Encode(Hello{About: about}); err != nil {
		return err
	}
	for {
		var r Request
		switch err := requests.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		var a Answer
		parts, err := render(r)
		if a.Parts = parts; err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}
