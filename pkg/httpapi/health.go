package httpapi

import (
	"net/http"

	"github.com/optimizerd/optimizerd/pkg/fault"
)

type health struct {
	Status string `json:"status"`
}

func (a *api) getHealth(w *response, _ *http.Request) error {
	return w.json(http.StatusOK, health{"ok"})
}

// readiness reports whether uploads are accepted, by part.
type readiness struct {
	Status string          `json:"status"` // ready, or not_ready if a part is not or the daemon is stopping
	Parts  map[string]part `json:"parts"`
}

type part struct {
	Status string `json:"status"` // ready, not_ready or off
	Detail string `json:"detail,omitempty"`
}

// getReadiness shows details, such as free space and the edge's location, only to
// clients that may use the rest of the API.
func (a *api) getReadiness(w *response, r *http.Request) error {
	anonymous := a.auth.check(r) != nil
	answer, status := readiness{Status: "ready", Parts: make(map[string]part)}, http.StatusOK
	for name, check := range a.Checks {
		if check == nil {
			answer.Parts[name] = part{Status: "off"}
			continue
		}
		detail, err := check()
		p := part{"ready", detail}
		if err != nil {
			p = part{"not_ready", fault.From(err).Detail}
			answer.Status, status = "not_ready", http.StatusServiceUnavailable
		}
		if anonymous {
			p.Detail = ""
		}
		answer.Parts[name] = p
	}
	select {
	case <-a.Stopping:
		answer.Status, status = "not_ready", http.StatusServiceUnavailable
	default:
	}
	return w.json(status, answer)
}
