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

func (a *api) getReadiness(w *response, _ *http.Request) error {
	answer, status := readiness{Status: "ready", Parts: make(map[string]part)}, http.StatusOK
	for name, check := range a.Checks {
		if check == nil {
			answer.Parts[name] = part{Status: "off"}
			continue
		}
		detail, err := check()
		answer.Parts[name] = part{"ready", detail}
		if err != nil {
			answer.Parts[name] = part{"not_ready", fault.From(err).Detail}
			answer.Status, status = "not_ready", http.StatusServiceUnavailable
		}
	}
	select {
	case <-a.Stopping:
		answer.Status, status = "not_ready", http.StatusServiceUnavailable
	default:
	}
	return w.json(status, answer)
}
