package daemontest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// Code returns the code of a problem, "" if the response is none.
func (a Answer) Code() string {
	var p problem
	if a.StatusCode < 400 || json.Unmarshal(a.Body, &p) != nil {
		return ""
	}
	return p.Code
}

// Verdict returns the code of a refusal, or "made", and an error for a response that
// an upload must not get.
func (a Answer) Verdict() (string, error) {
	if a.StatusCode == http.StatusCreated || a.StatusCode == http.StatusOK {
		return "made", nil
	}
	code := a.Code()
	switch code {
	case "invalid_request", "unsupported_format", "corrupt_image", "too_many_pixels", "too_many_frames", "processing_failed", "too_large":
		if StatusOf[code] == a.StatusCode {
			return code, nil
		}
	}
	return "", fmt.Errorf("got %s %.300s, want 201, 200 or a refusal of the contract", a.Status, a.Body)
}

// problem is the code and detail of an error response.
type problem struct {
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
}

// StatusOf is the contract's table.
var StatusOf = map[string]int{
	"invalid_request": 400, "digest_mismatch": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404, "method_not_allowed": 405,
	"upload_timeout": 408, "too_large": 413, "unsupported_format": 415, "unsupported_encoding": 415, "misdirected_request": 421, "range_not_satisfiable": 416,
	"precondition_failed": 412, "conflict": 409,
	"corrupt_image": 422, "too_many_pixels": 422, "too_many_frames": 422, "processing_failed": 422, "invalid_options": 422,
	"queue_full": 429, "internal": 500, "shutting_down": 503, "unavailable": 503, "insufficient_storage": 507,
}

// CheckProblem fails the test unless the response is a problem with this code. It
// returns the problem.
func (a Answer) CheckProblem(t *testing.T, code string) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(a.Body, &p); err != nil || p.Code != code || a.StatusCode != StatusOf[code] {
		t.Fatalf("got %s %s, want %d %s", a.Status, a.Body, StatusOf[code], code)
	}
	return p
}
