// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package benchmark

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed page.md.tmpl
var pageText string

// write writes dist/benchmarks.json, docs/benchmarks.md and its plots.
func write(folder string, figures []figure, results map[scenario]series) error {
	text, err := json.MarshalIndent(map[string]any{"seeds": *seeds, "figures": figures}, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"dist/benchmarks.json": append(text, '\n')}
	for name, p := range plots(results) {
		files["docs/benchmarks/"+name+".svg"] = []byte(p.svg())
	}
	var page bytes.Buffer
	if err := template.Must(template.New("page").Parse(pageText)).Execute(&page, map[string]any{"Groups": grouped(figures), "Seeds": *seeds}); err != nil {
		return err
	}
	files["docs/benchmarks.md"] = page.Bytes()
	for name, content := range files {
		path := filepath.Join(folder, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// group is a part of the page.
type group struct {
	Title, Text, Plot string
	Rows              []string
}

// grouped puts every figure into the part of the page that its name belongs to.
func grouped(figures []figure) []group {
	groups := []group{
		{Title: "Schedule", Plot: "makespan", Text: scheduleText},
		{Title: "Calls", Plot: "calls", Text: callsText},
		{Title: "Route", Text: routeText},
		{Title: "Weight", Plot: "memory", Text: weightText},
	}
	for _, f := range figures {
		at := 0
		switch {
		case strings.HasPrefix(f.Name, "calls_"), strings.HasPrefix(f.Name, "throttled_"), strings.HasPrefix(f.Name, "mutating_"), strings.HasPrefix(f.Name, "describe_calls_"), strings.HasPrefix(f.Name, "describe_ticks_"), strings.HasPrefix(f.Name, "describe_volumes_"), strings.HasPrefix(f.Name, "canary_"):
			at = 1
		case strings.HasPrefix(f.Name, "cross_"), strings.HasPrefix(f.Name, "bytes_"):
			at = 2
		case strings.HasPrefix(f.Name, "peak_"), strings.HasPrefix(f.Name, "cpu_"), strings.HasPrefix(f.Name, "describe_"), strings.HasPrefix(f.Name, "binary_"):
			at = 3
		}
		limit := ""
		switch {
		case f.Exact:
			limit = "0"
		case f.Limit > 0:
			limit = fmt.Sprintf("≤ %v", f.Limit)
		}
		groups[at].Rows = append(groups[at].Rows, fmt.Sprintf("| `%s` | %s | %s | %s |", f.Name, f.value(), limit, f.Means))
	}
	return groups
}

const scheduleText = `The **makespan** is the time from the call of the post-processor to its return, in the virtual time of the simulated AWS: protecting the source
image, looking, staging, sharing, copying, registering, verifying, tidying. A **target** is one account in one Region.

The **bound** is what no run can go below. It is computed from the simulated AWS's own draws, which no client can ask for: every copy has a speed
of 70 to 200 MiB a second, a start delay, and a stand before its end that one in six makes long, all drawn from the seed and the copy. The bound is
the greater of

- the longest chain: a staged copy, and the longest of the targets' copies of it;
- the work of a lane over its room: the times of all copies of one account to one Region, shared out evenly among those that AWS admits at once, 20 where nothing
  else is said.

Calls, looks and waiting count nothing in the bound: a ratio of 1.02 says that all of that, and everything that was begun later than it could have been,
took 2 % of the run.`

const callsText = `Everything is counted that reaches the simulated AWS, repeats too. What **changes** something is compared, action by action, with what the job takes: a copy per volume for
each target, and per volume staged in each Region; a registration for each target; a share and its withdrawal per staged snapshot and 500 accounts; a seal for
everything made; the removal of what was staged; the source image's protection and sealing key. A canary, which tries every destination before the volumes are staged, takes
an empty volume and its snapshot in each Region, shared, and a copy in each account, all sealed and removed.

Copies are looked at with one DescribeSnapshots per account and Region, whatever their number, and never sooner than ` + "`poll_interval`" + ` after the one before. Early
and last looks are close together, those between up to five minutes apart. Of the copies that one image waits for, the last to end sets the pace; where others wait for
room, every one of them does.`

const routeText = `A small world has an image or two in different Regions, of one to three volumes, each shareable as it is or not, none to two accounts in each of four Regions, the source
account among them or not, and the source account's key in some of the Regions. For each, all routes are gone through: every destination may copy every volume from any Region in
which the source account can stage it, or from an original that can be shared. What moves between Regions counts first. Less than the least fails, as more does.`

const weightText = `Every run is a process of its own, which the simulated AWS is a part of. ` + "`describe`" + ` is what Packer starts every plugin with. The amazon plugin is built with the flags of its
own releases.`

// plot is a line or more over the number of targets.
type plot struct {
	title  string
	lines  []line
	bottom float64 // of the scale
}

type line struct {
	name   string
	values []float64 // for each of sizes
}

func plots(results map[scenario]series) map[string]plot {
	over := func(regions int, figure func(scenario, series) float64) (values []float64) {
		for _, n := range sizes {
			s := plain(n, regions)
			values = append(values, figure(s, results[s]))
		}
		return values
	}
	both := func(figure func(scenario, series) float64) []line {
		return []line{{"one Region", over(1, figure)}, {"four Regions", over(4, figure)}}
	}
	return map[string]plot{
		"makespan": {"Makespan over its bound, worst seed", both(func(_ scenario, all series) float64 { return all.makespan() }), 1},
		"calls": {"Calls per target, worst seed", both(func(s scenario, all series) float64 {
			return all.worst(func(m sample) float64 { return float64(m.Calls) / float64(s.Targets) })
		}), 0},
		"memory": {"Peak memory in MiB, simulated AWS included, worst seed", both(func(_ scenario, all series) float64 {
			return all.worst(func(m sample) float64 { return float64(m.RSS) / (1 << 20) })
		}), 0},
	}
}

// svg draws the plot: targets on a scale of powers of ten, with each value written at its point.
func (p plot) svg() string {
	const width, height, left, right, top, foot = 640, 320, 70, 130, 40, 50
	most := p.bottom
	for _, l := range p.lines {
		for _, v := range l.values {
			most = max(most, v)
		}
	}
	step := math.Pow(10, math.Floor(math.Log10(most-p.bottom)))
	for (most-p.bottom)/step < 4 {
		step /= 2
	}
	ceiling := p.bottom + step*math.Ceil((most-p.bottom)/step)
	x := func(i int) float64 { return left + float64(i)*(width-left-right)/float64(len(sizes)-1) }
	y := func(v float64) float64 { return height - foot - (v-p.bottom)/(ceiling-p.bottom)*(height-foot-top) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/><text x="%d" y="22" font-size="15">%s</text>`+"\n", width, height, left, p.title)
	for v := p.bottom; v <= ceiling+step/2; v += step {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, y(v), width-right, left-8, y(v)+4, short(v))
	}
	for i, n := range sizes {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(i), height-foot+20, n)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">targets</text>`+"\n", left+(width-left-right)/2, height-8)
	for k, l := range p.lines {
		color := []string{"#0b62a4", "#d0611e"}[k%2]
		var way []string
		for i, v := range l.values {
			way = append(way, fmt.Sprintf("%.1f %.1f", x(i), y(v)))
		}
		fmt.Fprintf(&b, `<path d="M%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(way, "L"), color)
		for i, v := range l.values {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"><title>%d targets, %s: %s</title></circle>`+"\n", x(i), y(v), color, sizes[i], l.name, short(v))
		}
		fmt.Fprintf(&b, `<path d="M%d %dh20" stroke="%s" stroke-width="2"/><text x="%d" y="%d">%s</text>`+"\n", width-right+10, top+20+20*k, color, width-right+36, top+24+20*k, l.name)
	}
	return b.String() + "</svg>\n"
}

func short(v float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
}
