// Package doctor looks at a machine and its configuration, and says what
// would keep the daemon from working well and what to do about it.
//
// Gather collects facts: it reads files of /proc and /sys, asks one codec
// process for its greeting, and writes nothing but a probe file that it
// removes. Examine judges them and touches nothing, so that every judgement
// can be had without the machine that it is about.
//
// It mends nothing, and it is no part of the daemon: what the daemon itself
// must not start with, config and daemon refuse.
package doctor

// Status is how bad a finding is.
type Status string

// The grades, from good to bad.
const (
	OK   Status = "ok"   // its advice, if any, is a hint
	Warn Status = "warn" // it works, less well or less safely than it could
	Fail Status = "fail" // it does not work, or data or secrets are in danger
)

// Finding is what one check has found.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Advice string `json:"advice"` // what to do; "" for nothing
}

// Report is all findings under the worst status of them.
type Report struct {
	Status   Status    `json:"status"`
	Findings []Finding `json:"findings"`
}

// checks are what is looked at, in the order of the report. One that has
// nothing to say, for want of facts that another has reported missing, returns
// no finding.
var checks = []func(Facts) []Finding{
	checkConfiguration,
	checkCodec, checkFormats, checkVector, checkSeccomp, checkLandlock, checkCodecMemory,
	checkPageSize, checkMemory, checkCgroup, checkHeat,
	checkData, checkSpace, checkDevice, checkQuarantine, checkWebhooks,
	checkClock,
	checkAddress, checkAdmin, checkPort, checkTunnel, checkServable, checkTokens, checkFetching, checkCertificates, checkOpenFiles,
}

// Examine judges the facts.
func Examine(f Facts) Report {
	r := Report{Status: OK, Findings: []Finding{}}
	for _, check := range checks {
		r.Findings = append(r.Findings, check(f)...)
	}
	for _, finding := range r.Findings {
		r.Status = worse(r.Status, finding.Status)
	}
	return r
}

func worse(a, b Status) Status {
	for _, s := range []Status{Fail, Warn} {
		if a == s || b == s {
			return s
		}
	}
	return OK
}

// count is how many findings have the status.
func (r Report) count(s Status) (n int) {
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}
