package httpapi

import (
	"net/http"

	"github.com/optimizerd/optimizerd/pkg/fault"
	"github.com/optimizerd/optimizerd/pkg/job"
)

// jobListing is one page of jobs, newest first.
type jobListing struct {
	Items []JobView `json:"items"`
	Next  *string   `json:"next"` // cursor of the next page; null on the last
}

// listJobs lists all known jobs: those that have not ended, and those that
// ended less than jobs.keep ago.
func (a *api) listJobs(w *response, r *http.Request) error {
	if err := onlyQuery(r, "status", "limit", "cursor"); err != nil {
		return err
	}
	query := r.URL.Query()
	limit, err := parseLimit(query)
	if err != nil {
		return err
	}
	status, ok := job.ParseStatus(query.Get("status"))
	if status != "" && !ok {
		return fault.New(fault.InvalidRequest, "status must be pending, processing, completed or failed.")
	}
	before := query.Get("cursor")
	if before != "" && !job.ValidID(before) {
		return fault.New(fault.InvalidRequest, "cursor must be the value of next from an earlier page.")
	}
	found, more, err := a.Jobs.List(status, before, limit)
	if err != nil {
		return err
	}
	page := jobListing{Items: make([]JobView, len(found))}
	for i, j := range found {
		if page.Items[i], err = a.Views.Job(j, a.ownBase(r)); err != nil {
			return err
		}
	}
	if more {
		page.Next = &found[len(found)-1].ID
	}
	return w.json(http.StatusOK, page)
}

// retryJob queues a failed job again.
func (a *api) retryJob(w *response, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	ticket, err := a.Jobs.Retry(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return a.answerAccepted(w, r, ticket.Job())
}

// cancelJob ends a job that has not started.
func (a *api) cancelJob(w *response, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	if err := a.Jobs.Cancel(r.PathValue("id")); err != nil {
		return err
	}
	w.noContent()
	return nil
}
