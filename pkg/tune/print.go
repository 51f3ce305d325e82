package tune

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"github.com/optimizerd/optimizerd/pkg/ladder"
)

// Print writes the report as text, followed by the proposal as YAML.
func (r Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	memory := "memory unknown"
	if r.Memory > 0 {
		memory = humanize.IBytes(uint64(r.Memory)) + " of memory"
	}
	fmt.Fprintf(t, "%d cores, %s, libvips %s\n", r.Cores, memory, r.Libvips)
	for _, p := range r.Images {
		fmt.Fprintf(t, "%s: %d × %d pixels, %s\n", p.Name, p.Width, p.Height, humanize.IBytes(uint64(p.Bytes)))
	}
	fmt.Fprint(t, "\nConfigured ladder, one image after another:\n")
	fmt.Fprint(t, "processes\tthreads\tladders/min\tCPU s/ladder\tpeak/process\t\n")
	for _, p := range r.Throughput {
		fmt.Fprintf(t, "%d\t%d\t%.1f\t%.2f\t%s\t\n", p.Processes, p.Threads, p.LaddersPerMinute, p.CPUSeconds, humanize.IBytes(uint64(p.Peak)))
	}
	base := make(map[ladder.Format]Effort)
	if len(r.Efforts) > 0 {
		fmt.Fprint(t, "\nThe same widths in a single format:\n")
		fmt.Fprint(t, "format\teffort\tCPU s\tbytes\tCPU\tbytes\t\n")
	}
	for _, e := range r.Efforts {
		if _, ok := base[e.Format]; !ok {
			base[e.Format] = e
		}
		if e.TooSlow {
			fmt.Fprintf(t, "%s\t%d\tlonger than codec.timeout\t\t\t\t\n", e.Format, e.Effort)
			continue
		}
		b := base[e.Format]
		fmt.Fprintf(t, "%s\t%d\t%.2f\t%s\t×%.2f\t×%.3f\t\n", e.Format, e.Effort, e.CPUSeconds, humanize.IBytes(uint64(e.Bytes)),
			e.CPUSeconds/b.CPUSeconds, float64(e.Bytes)/float64(b.Bytes))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nProposed settings for this machine, to copy into the configuration file:\n\n%s", r.Proposal.YAML())
	return err
}
