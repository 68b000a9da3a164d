// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

//go:build unix

package benchmark

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
)

var (
	whole  = flag.Bool("whole", false, "measure everything, and write docs/benchmarks.md")
	seeds  = flag.Int("seeds", 20, "runs of every scenario")
	out    = flag.String("out", "../..", "the folder that has docs/ and dist/")
	ours   = flag.String("plugin", "", "our binary, as released")
	theirs = flag.String("amazon", "", "the amazon plugin's binary, as released")
	one    = flag.String("one", "", "a scenario as JSON: run it once and print what was measured")
	most   = flag.Int("most", 10000, "the largest number of targets")
	seed   = flag.Uint64("seed", 1, "the seed of -one")
)

// TestOne executes one run in its own process, so that its memory and processor time can be measured.
func TestOne(t *testing.T) {
	if *one == "" {
		t.Skip("without -one there is nothing to run")
	}
	awsenv.ShrinkHeap() // as in the process of the plugin
	var s scenario
	if err := json.Unmarshal([]byte(*one), &s); err != nil {
		t.Fatal(err)
	}
	var m sample
	if s.Apart {
		m = runApart(t, s, *seed)
	} else {
		m.measured = run(t, s, *seed).measured()
	}
	if err := json.NewEncoder(os.Stdout).Encode(m); err != nil {
		t.Fatal(err)
	}
}

// sample holds the figures of a run in its own process.
type sample struct {
	measured
	RSS int64         // peak, in bytes
	CPU time.Duration // user and system time
}

// inProcess runs a scenario once, in a process of its own.
func inProcess(s scenario, seed uint64) (sample, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return sample{}, err
	}
	command := exec.Command(
		os.Args[0],
		"-test.run=^TestOne$",
		"-test.timeout=55m",
		"-one="+string(text),
		"-seed="+strconv.FormatUint(seed, 10),
	)
	printed, err := command.Output()
	if err != nil {
		return sample{}, fmt.Errorf("%s, seed %d: %w\n%s", text, seed, err, printed)
	}
	var m sample
	if err := json.NewDecoder(bytes.NewReader(printed)).Decode(&m); err != nil {
		return sample{}, fmt.Errorf("%s, seed %d: %w\n%s", text, seed, err, printed)
	}
	if s.Apart { // the process has measured itself, without the one that it started
		return m, nil
	}
	m.CPU = command.ProcessState.UserTime() + command.ProcessState.SystemTime()
	if usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage); ok {
		m.RSS = usage.Maxrss << 10 // KiB on Linux
	}
	return m, nil
}

// series are a scenario's runs, one for each seed.
type series []sample

// worst returns the highest value of a figure.
func (all series) worst(figure func(sample) float64) float64 {
	most := 0.0
	for _, one := range all {
		most = max(most, figure(one))
	}
	return most
}

func (all series) makespan() float64 {
	return all.worst(func(s sample) float64 { return s.ratio() })
}

// peak returns the peak memory in MiB.
func (all series) peak() float64 {
	return all.worst(func(s sample) float64 { return float64(s.RSS) / (1 << 20) })
}

// largeSeeds is the number of runs of a scenario with 1,000 targets, which take a minute each.
const largeSeeds = 5

// seeds returns the number of runs of a scenario. The largest take minutes each.
func (s scenario) seeds() int {
	switch {
	case s.Targets > 1000, s.Apart:
		return 1
	case s.Targets == 1000:
		return min(*seeds, largeSeeds)
	}
	return *seeds
}

// measure runs scenarios, the longest first, as many at once as there are processors.
func measure(scenarios []scenario) (map[scenario]series, error) {
	type job struct {
		scenario
		seed int
	}
	results := map[scenario]series{}
	for _, s := range scenarios {
		results[s] = make(series, s.seeds())
	}
	jobs := make(chan job)
	var group sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range runtime.NumCPU() {
		group.Go(func() {
			for j := range jobs {
				m, err := inProcess(j.scenario, uint64(j.seed+1))
				mu.Lock()
				results[j.scenario][j.seed] = m
				if failed == nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	slices.SortStableFunc(scenarios, func(a, b scenario) int { return b.Targets*b.Volumes - a.Targets*a.Volumes })
	for _, s := range scenarios {
		for seed := range s.seeds() {
			jobs <- job{s, seed}
		}
	}
	close(jobs)
	group.Wait()
	return results, failed
}

// figure is one printed line.
type figure struct {
	Name  string
	Value float64
	Limit float64 `json:",omitempty"` // at most; without a limit if 0, unless Exact
	Exact bool    `json:",omitempty"`
	Means string
}

func (f figure) limited() bool { return f.Limit > 0 || f.Exact }
func (f figure) holds() bool   { return !f.limited() || f.Value <= f.Limit }

func (f figure) value() string { return strconv.FormatFloat(f.Value, 'f', f.digits(), 64) }

func (f figure) digits() int {
	switch {
	case f.Exact:
		return 0
	case f.Value >= 20:
		return 1
	}
	return 3
}

// sizes are the numbers of targets of the most frequent scenario.
var sizes = []int{1, 10, 100, 1000, 10000}

// sizesIn returns the numbers of targets in a number of Regions. 10,000 take many minutes, and are only in one Region.
func sizesIn(regions int) []int {
	all := sizes
	if regions > 1 {
		all = sizes[:len(sizes)-1]
	}
	return slices.DeleteFunc(slices.Clone(all), func(n int) bool { return n > *most })
}

// sized returns the most frequent scenario with a number of targets. Above 1,000, the simulated AWS would need most of
// the memory of the process, so it is in a process of its own.
func sized(targets, regions int) scenario {
	s := plain(targets, regions)
	s.Apart = targets > 1000
	return s
}

// apart is like sized, with the simulated AWS in another process.
func apart(targets, regions int) scenario {
	s := plain(targets, regions)
	s.Apart = true
	return s
}

// TestFigures measures everything. It prints a line for each figure and writes dist/benchmarks.json, docs/benchmarks.md
// and the plots.
func TestFigures(t *testing.T) {
	if !*whole {
		t.Skip("it takes minutes: make bench")
	}
	begun := time.Now()
	if *ours == "" || *theirs == "" {
		t.Fatal("-plugin and -amazon name the binaries to compare")
	}
	scenarios := []scenario{
		small, full, five, others, throttled, polling(1), polling(26), byImage(batchedTargets),
		acrossRegions(false), acrossRegions(true),
	}
	for _, regions := range []int{1, 4} {
		for _, n := range sizesIn(regions) {
			scenarios = append(scenarios, apart(n, regions))
			if s := sized(n, regions); !s.Apart {
				scenarios = append(scenarios, s)
			}
		}
	}
	for n := range callLimits {
		scenarios = append(scenarios, compared(n))
	}
	results, err := measure(scenarios)
	if err != nil {
		t.Fatal(err)
	}
	figures := slices.Concat(
		schedule(results), calls(results), batches(results), routed(t), optimized(results), light(t, results))
	for _, f := range figures {
		fmt.Printf("%s: %s\n", f.Name, f.value())
		if !f.holds() {
			t.Errorf("%s is %s, the limit is %v", f.Name, f.value(), f.Limit)
		}
	}
	fmt.Printf("took: %s\n", time.Since(begun).Round(time.Second))
	if err := write(*out, figures, results); err != nil {
		t.Fatal(err)
	}
}

// callsPerTargetLimits holds the most calls for each target by number of targets, without those of the run record.
var callsPerTargetLimits = map[int]float64{1: 186, 10: 102, 100: 85, 1000: 83.8, 10000: 83.8}

// callsPerTarget returns all calls divided by the targets.
func (all series) callsPerTarget(n int) float64 {
	return all.worst(func(s sample) float64 { return float64(s.Calls) / float64(n) })
}

func schedule(results map[scenario]series) (figures []figure) {
	for _, regions := range []int{1, 4} {
		for _, n := range sizesIn(regions) {
			name, in := fmt.Sprintf("makespan_ratio_%d", n), "one Region"
			if regions > 1 {
				name, in = fmt.Sprintf("makespan_ratio_%d_regions_%d", n, regions), fmt.Sprintf("%d Regions", regions)
			}
			if n < regions {
				in = "another Region than the image's"
			}
			figures = append(figures, figure{
				Name:  name,
				Value: results[sized(n, regions)].makespan(),
				Limit: makespanLimit,
				Means: fmt.Sprintf("makespan divided by bound: %s in %s, 4 volumes of 8 to 500 GiB", targets(n), in),
			})
		}
	}
	return append(figures,
		figure{
			Name:  "makespan_ratio_small",
			Value: results[small].makespan(),
			Limit: smallLimit,
			Means: "makespan divided by bound: one target, one volume of 8 GiB",
		},
		figure{
			Name:  "makespan_ratio_bound",
			Value: results[full].makespan(),
			Limit: fullLimit,
			Means: "makespan divided by bound: four targets, 26 volumes of 8 to 500 GiB, so more than the limit of 20 copies",
		},
		figure{
			Name:  "copies_at_once_bound",
			Value: results[full].worst(func(s sample) float64 { return float64(s.AtOnce) }),
			Limit: copiesAtOnce,
			Means: "most concurrent copies from one account to one Region in those runs",
		},
		figure{
			Name:  "refused_copies_bound",
			Value: results[full].worst(func(s sample) float64 { return float64(s.OverLimit) }),
			Exact: true,
			Means: "copies that AWS refused because of its limit in those runs",
		},
		figure{
			Name:  "makespan_ratio_limit_5",
			Value: results[five].worst(func(s sample) float64 { return float64(s.Took) / float64(s.Listed) }),
			Limit: makespanLimit,
			Means: "makespan divided by the time of its copies without pauses, " +
				"with a limit of 5 copies that the run does not know",
		},
		figure{
			Name:  "makespan_ratio_others",
			Value: results[others].makespan(),
			Limit: fullLimit,
			Means: "makespan divided by bound: one target, 20 volumes of 100 GiB, while another process makes 19 copies",
		},
		figure{
			Name:  "makespan_ratio_throttled",
			Value: results[throttled].makespan(),
			Limit: throttledLimit,
			Means: "makespan divided by bound: 10 targets, 30 % of all calls throttled",
		},
	)
}

func targets(n int) string {
	if n == 1 {
		return "one target"
	}
	return fmt.Sprintf("%d targets", n)
}

func calls(results map[scenario]series) (figures []figure) {
	for _, n := range sizesIn(1) {
		figures = append(figures, figure{
			Name:  fmt.Sprintf("calls_per_target_%d", n),
			Value: results[sized(n, 1)].callsPerTarget(n),
			Limit: callsPerTargetLimits[n],
			Means: fmt.Sprintf("calls of all services, with repeats, for each target: %s in one Region", targets(n)),
		})
	}
	for _, n := range slices.Sorted(maps.Keys(callLimits)) {
		figures = append(figures, figure{
			Name:  fmt.Sprintf("calls_%d", n),
			Value: results[compared(n)].worst(func(s sample) float64 { return float64(s.Calls) }),
			Limit: float64(callLimits[n]),
			Means: fmt.Sprintf("calls of all services, without those of the run record: %s in the Region of an image "+
				"of two volumes that have the source key", targets(n)),
		})
	}
	refused := results[plain(1000, 1)].worst(func(s sample) float64 { return float64(s.Refused) / float64(s.Calls) })
	excess := 0.0
	for _, all := range results {
		excess = max(excess, all.worst(func(s sample) float64 { return float64(s.MutatingExcess) }))
	}
	changed := results[plain(1000, 1)].worst(func(s sample) float64 { return float64(s.TestCopies) })
	figures = append(figures,
		figure{
			Name:  "throttled_share_1000",
			Value: refused,
			Limit: 0.01,
			Means: "share of all calls that AWS throttled: 1000 targets in one Region",
		},
		figure{
			Name:  "mutating_excess",
			Value: excess,
			Exact: true,
			Means: "largest difference between the mutating calls of a run and " +
				"those that the job needs, of all runs of this page",
		},
		figure{
			Name:  "test_copy_calls_1000",
			Value: changed,
			Means: "mutating calls for test copies, which `test_copy = false` turns off: 1000 targets in one Region",
		})
	for _, volumes := range []int{1, 26} {
		s := polling(volumes)
		figures = append(figures,
			figure{
				Name: fmt.Sprintf(
					"describe_calls_volumes_%d",
					volumes,
				), Value: results[s].worst(func(m sample) float64 { return float64(m.Polls) }),
				Means: fmt.Sprintf(
					"calls of DescribeSnapshots: %d targets in one Region, number of volumes of 100 GiB: %d",
					s.Targets,
					volumes,
				),
			},
			figure{
				Name: fmt.Sprintf(
					"describe_ticks_volumes_%d",
					volumes,
				),
				Value: results[s].worst(func(m sample) float64 { return m.pollShare(s) }),
				Limit: pollShareLimit,
				Means: "those calls, divided by accounts x Regions x poll intervals of the run",
			})
	}
	most := func(volumes int) float64 {
		return results[polling(volumes)].worst(func(m sample) float64 { return float64(m.Polls) })
	}
	return append(
		figures,
		figure{
			Name:  "describe_volumes_ratio",
			Value: most(26) / most(1),
			Limit: pollingLimit,
			Means: "those calls for 26 volumes, divided by those for one volume",
		},
	)
}

// routed compares the plans and the copies of small distributions with the cheapest of all routes.
func routed(t *testing.T) []figure {
	planned, err := ofPlans(worlds)
	if err != nil {
		t.Fatal(err)
	}
	ran := ofRuns(t, worldsRun)
	return []figure{
		{
			Name:  "cross_region_ratio",
			Value: max(planned.Across, ran.Across),
			Limit: 1,
			Means: fmt.Sprintf(
				"GiB copied between Regions, divided by those of the best possible plan: the worst of %d plans and %d runs",
				worlds,
				worldsRun,
			),
		},
		{
			Name:  "bytes_ratio",
			Value: max(planned.Copied, ran.Copied),
			Limit: 1,
			Means: "GiB of all copies, divided by those of the best possible plan: the worst of the same plans and runs",
		},
		{
			Name:  "route_time_ratio",
			Value: planned.Time,
			Limit: 1,
			Means: "expected end of the last copy with `optimize_for = \"time\"`, divided by that of the fastest " +
				"possible plan: the worst of the same plans",
		},
	}
}

// optimized compares runs between Regions with their bounds, and with each other.
func optimized(results map[scenario]series) []figure {
	cost, quick := acrossRegions(false), acrossRegions(true)
	gain := 0.0
	for i := range results[cost] {
		gain = max(gain, float64(results[quick][i].Took)/float64(results[cost][i].Took))
	}
	what := fmt.Sprintf("%s in %d Regions, 4 volumes of 8 to 500 GiB that have the source key",
		targets(cost.Targets), cost.Regions)
	return []figure{
		{
			Name:  "makespan_ratio_optimize_cost",
			Value: results[cost].makespan(),
			Limit: makespanLimit,
			Means: "makespan divided by bound, with `optimize_for = \"cost\"`: " + what,
		},
		{
			Name:  "makespan_ratio_optimize_time",
			Value: results[quick].makespan(),
			Limit: makespanLimit,
			Means: "makespan divided by bound, with `optimize_for = \"time\"`: the same. Its bound is the longest direct copy",
		},
		{
			Name:  "route_time_to_cost",
			Value: gain,
			Limit: timeGainLimit,
			Means: "makespan of the runs for time, divided by that of the runs for cost with the same seed",
		},
	}
}

// worlds is the number of small distributions that are planned. worldsRun is the number of those that are executed.
const (
	worlds    = 2000
	worldsRun = 200
)

// light returns memory, processor time, start and size of the plugin.
func light(t *testing.T, results map[scenario]series) []figure {
	big := results[plain(1000, 1)]
	figures := []figure{
		{
			Name:  "peak_rss_mib_1000",
			Value: big.peak(),
			Limit: memoryLimit,
			Means: "peak memory in MiB of a process that distributes an image to 1000 targets, with the simulated AWS",
		},
		{
			Name:  "cpu_seconds_1000",
			Value: big.worst(func(s sample) float64 { return s.CPU.Seconds() }),
			Means: "processor time of that process",
		},
	}
	if large := results[apart(10000, 1)]; large != nil {
		figures = append(figures, figure{
			Name:  "peak_rss_mib_10000",
			Value: large.peak(),
			Limit: largeMemoryLimit,
			Means: "peak memory in MiB of a process that distributes an image to 10000 targets. " +
				"The simulated AWS is another process",
		})
	}
	our, their := starts(t)
	return append(figures,
		figure{
			Name:  "describe_ms",
			Value: our.Seconds() * 1000,
			Means: "shortest of 40 starts of the plugin with `describe`, in ms",
		},
		figure{
			Name:  "describe_ratio",
			Value: our.Seconds() / their.Seconds(),
			Limit: 1,
			Means: "that time, divided by the shortest of 40 starts of the amazon plugin. Both are started in turn",
		},
		figure{Name: "binary_mib", Value: mib(t, *ours), Means: "size of the stripped binary in MiB"},
		figure{
			Name:  "binary_ratio",
			Value: mib(t, *ours) / mib(t, *theirs),
			Limit: 0.5,
			Means: "that size, divided by the size of the amazon plugin, built as its releases are",
		},
	)
}

func mib(t *testing.T, path string) float64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return float64(info.Size()) / (1 << 20)
}

// starts returns the shortest start time of each plugin, of 40 alternating starts. It takes the shortest, because a
// busy machine can only lengthen a start.
func starts(t *testing.T) (our, their time.Duration) {
	t.Helper()
	const times = 40
	shortest := map[string]time.Duration{*ours: time.Hour, *theirs: time.Hour}
	for range times {
		for _, plugin := range []string{*ours, *theirs} {
			begun := time.Now()
			if err := exec.Command(plugin, "describe").Run(); err != nil {
				t.Fatalf("%s describe: %v", plugin, err)
			}
			shortest[plugin] = min(shortest[plugin], time.Since(begun))
		}
	}
	return shortest[*ours], shortest[*theirs]
}
