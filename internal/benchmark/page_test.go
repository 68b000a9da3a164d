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
	if err := template.Must(template.New("page").Parse(pageText)).Execute(
		&page,
		map[string]any{"Groups": grouped(figures), "Seeds": *seeds, "LargeSeeds": min(*seeds, largeSeeds)},
	); err != nil {
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

// grouped returns the parts of the page, each with the figures that belong to it by name.
func grouped(figures []figure) []group {
	groups := []group{
		{Title: "Schedule", Plot: "makespan", Text: scheduleText},
		{Title: "Calls", Plot: "calls", Text: callsText},
		{Title: "Copies between Regions", Text: routeText},
		{Title: "Memory, start and size", Plot: "memory", Text: weightText},
	}
	for _, f := range figures {
		at := 0
		switch {
		case strings.HasPrefix(f.Name, "calls_"),
			strings.HasPrefix(f.Name, "throttled_"),
			strings.HasPrefix(f.Name, "mutating_"),
			strings.HasPrefix(f.Name, "describe_calls_"),
			strings.HasPrefix(f.Name, "describe_ticks_"),
			strings.HasPrefix(f.Name, "describe_volumes_"),
			strings.HasPrefix(f.Name, "test_copy_"),
			strings.HasPrefix(f.Name, "image_"):
			at = 1
		case strings.HasPrefix(f.Name, "cross_"),
			strings.HasPrefix(f.Name, "bytes_"),
			strings.HasPrefix(f.Name, "route_"),
			strings.HasPrefix(f.Name, "makespan_ratio_optimize_"):
			at = 2
		case strings.HasPrefix(f.Name, "peak_"),
			strings.HasPrefix(f.Name, "cpu_"),
			strings.HasPrefix(f.Name, "describe_"),
			strings.HasPrefix(f.Name, "binary_"):
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

const scheduleText = `The **makespan** is the time from the call of the post-processor to its return, in the virtual
time of the simulated AWS. It includes all steps, from protecting the source image to cleaning up. A **target** is one
account in one Region.

The **bound** is the makespan of the fastest possible run. It is computed from the durations that the simulated AWS
drew, which no client can know: each copy has a speed of 70 to 200 MiB a second, a start delay, and a pause before its
end, which is long for one copy in six. The bound is the greater of

- the longest chain of a staged copy and a target's copy of it;
- the durations of all copies of one account to one Region, divided by the limit of concurrent copies, which is 20 by
  default.

Calls, polling and waiting take no time in the bound. A ratio of 1.02 means that the run took 2 % longer than the bound,
because of its calls, because of polling, and because some copies began later than possible.`

const callsText = `All calls that reach the simulated AWS count, also repeats. **Mutating** calls change something in
AWS. For each action, their number is compared with the number that the distribution needs:

- a copy of each volume for each target, and for each Region with a staged copy;
- a registration for each target;
- a share and an unshare for each staged snapshot and 500 accounts;
- the tags of all created resources, and the deletion of the staged snapshots;
- the protection of the source image, and the tag with its signing key.

The test copies of the destinations need an empty snapshot in each Region, a share of it, and a copy in each account.
All of them are deleted again.

One DescribeSnapshots for each account and Region returns all copies, at most once in each ` + "`poll_interval`" + `.
At the beginning and near the expected end of a copy, polls are close together. In between they are up to five minutes
apart. For the copies of an image, only the end of the last one matters. If further copies wait because of the limit,
the end of every copy matters, because the next copy can then begin.`

const routeText = `A small distribution has one or two images in different Regions, of one to three volumes. Each volume
can be shared or needs a staged copy. Each of four Regions has up to two accounts, perhaps also the source account, and
perhaps the source account's key. A plan is compared with all other possible plans, in which each destination copies
each volume from any staged copy, or from a snapshot that can be shared. The test fails if another plan is better. It
also fails if the plan is better than all others, because then the comparison is wrong.

` + "`optimize_for`" + ` decides which plan is the best. With ` + "`cost`" + `, GiB between Regions count first,
then GiB of all copies. With ` + "`time`" + `, the expected end of the last copy counts. If no volume needs a staged
copy in the Region of the image, a direct copy is one copy instead of two.`

const weightText = `Each run is a process of its own. It includes the simulated AWS, except with 10,000 targets
and in the plot: there the simulated AWS is another process, and the virtual time of a call is its clock. The memory is
then that of the product alone. Packer starts plugins with ` + "`describe`" + `. The amazon plugin is built with the
flags of its own releases.`

// plot is a chart of one or more values by the number of targets.
type plot struct {
	title  string
	lines  []line
	bottom float64 // of the scale
}

type line struct {
	name   string
	values []float64 // for the first of sizes
}

func plots(results map[scenario]series) map[string]plot {
	over := func(of func(targets, regions int) scenario, regions int, figure func(scenario, series) float64) []float64 {
		var values []float64
		for _, n := range sizesIn(regions) {
			s := of(n, regions)
			values = append(values, figure(s, results[s]))
		}
		return values
	}
	both := func(of func(targets, regions int) scenario, figure func(scenario, series) float64) []line {
		return []line{{"one Region", over(of, 1, figure)}, {"four Regions", over(of, 4, figure)}}
	}
	return map[string]plot{
		"makespan": {
			"Makespan divided by its bound, worst seed",
			both(sized, func(_ scenario, all series) float64 { return all.makespan() }),
			1,
		},
		"calls": {"Calls per target, worst seed", both(sized, func(s scenario, all series) float64 {
			return all.callsPerTarget(s.Targets)
		}), 0},
		"memory": {"Peak memory in MiB, simulated AWS in another process", both(apart, func(_ scenario, all series) float64 {
			return all.peak()
		}), 0},
	}
}

// svg draws the plot. The axis of targets is logarithmic, and each point has its value.
func (p plot) svg() string {
	const width, height, left, legend, top, foot = 640, 320, 70, 130, 40, 50
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
	x := func(i int) float64 {
		return left + float64(i)*(width-left-legend)/float64(len(sizes)-1)
	}
	y := func(v float64) float64 { return height - foot - (v-p.bottom)/(ceiling-p.bottom)*(height-foot-top) }
	var b strings.Builder
	fmt.Fprintf(
		&b,
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n",
		width,
		height,
	)
	fmt.Fprintf(
		&b,
		`<rect width="%d" height="%d" fill="white"/><text x="%d" y="22" font-size="15">%s</text>`+"\n",
		width,
		height,
		left,
		p.title,
	)
	for v := p.bottom; v <= ceiling+step/2; v += step {
		fmt.Fprintf(
			&b,
			`<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left,
			y(v),
			width-legend,
			left-8,
			y(v)+4,
			short(v),
		)
	}
	for i, n := range sizes {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n", x(i), height-foot+20, n)
	}
	fmt.Fprintf(
		&b,
		`<text x="%d" y="%d" text-anchor="middle">targets</text>`+"\n",
		left+(width-left-legend)/2,
		height-8,
	)
	for k, l := range p.lines {
		color := []string{"#0b62a4", "#d0611e"}[k%2]
		var points []string
		for i, v := range l.values {
			points = append(points, fmt.Sprintf("%.1f %.1f", x(i), y(v)))
		}
		fmt.Fprintf(&b, `<path d="M%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, "L"), color)
		for i, v := range l.values {
			fmt.Fprintf(
				&b,
				`<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"><title>%d targets, %s: %s</title></circle>`+"\n",
				x(i),
				y(v),
				color,
				sizes[i],
				l.name,
				short(v),
			)
		}
		fmt.Fprintf(
			&b,
			`<path d="M%d %dh20" stroke="%s" stroke-width="2"/><text x="%d" y="%d">%s</text>`+"\n",
			width-legend+10,
			top+20+20*k,
			color,
			width-legend+36,
			top+24+20*k,
			l.name,
		)
	}
	return b.String() + "</svg>\n"
}

func short(v float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
}
