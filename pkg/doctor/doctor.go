// Package doctor examines a machine and its configuration, and reports what
// would keep the daemon from working well and how to fix it.
//
// Gather collects facts: it reads /proc and /sys, starts one codec process for
// its greeting, and writes nothing except a probe file that it deletes. Examine
// judges the facts and touches nothing, so every judgment can be tested without
// the machine.
//
// It fixes nothing and is not part of the daemon: settings with which the
// daemon must not start are refused by config and daemon.
package doctor

// Status is the severity of a finding.
type Status string

// The statuses, in ascending severity.
const (
	OK   Status = "ok"   // advice, if any, is a hint
	Warn Status = "warn" // works, but less well or less safely than possible
	Fail Status = "fail" // does not work, or data or secrets are at risk
)

// Finding is the result of one check.
type Finding struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Advice string `json:"advice"` // how to fix it; "" for nothing to do
}

// Report contains all findings and the worst status of them.
type Report struct {
	Status   Status    `json:"status"`
	Findings []Finding `json:"findings"`
}

// checks are the checks, in the order of the report. A check whose facts are
// missing, which another check reports, returns no finding.
var checks = []func(Facts) []Finding{
	checkConfiguration,
	checkCodec, checkFormats, checkVector, checkSeccomp, checkLandlock, checkCodecMemory,
	checkPageSize, checkMemory, checkCgroup, checkHeat,
	checkData, checkSpace, checkDevice, checkQuarantine, checkWebhooks, checkAside, checkStore, checkFleet,
	checkClock,
	checkAddress, checkAdmin, checkPort, checkTunnel, checkServable, checkTokens, checkFetching, checkCertificates, checkOpenFiles,
}

// Examine runs all checks on the facts.
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

// count returns the number of findings with status s.
func (r Report) count(s Status) (n int) {
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}
