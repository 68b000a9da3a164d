// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// mostDestinations is the maximum number of destinations for which each step has its own line.
const mostDestinations = 20

// shownPercents are the percentages of a copy that get a line.
var shownPercents = []int{25, 50, 75}

// progress prints the events of a run, for users and for programs. Any goroutine may use it.
type progress struct {
	packersdk.Ui

	mu        sync.Mutex
	text      report.StepText
	steps     map[distribution.StepID]step.Step
	tests     map[distribution.StepID]bool // steps of the test copies
	created   map[distribution.StepID]string
	running   map[distribution.StepID]*runningStep
	groups    map[step.Phrase]string // lines of cleanup steps that are printed once
	brief     bool                   // destinations have no lines for their steps
	canceled  bool
	testing   map[distribution.Location]bool // destinations whose test copy has not ended
	ended     testOutcomes
	verified  map[distribution.Location]bool
	waitsTo   string                         // what waits until all destinations are verified
	retries   map[string]bool                // lines that said why a step is retried
	failed    map[distribution.Location]bool // destinations whose failure was printed
	heartbeat heartbeat

	outages func() []awsclient.Outage // that calls wait for. Nil before there are clients
}

// testOutcomes counts the destinations whose test copy has ended.
type testOutcomes struct{ succeeded, failed, withoutResult int }

// runningStep is a step that has started and not ended.
type runningStep struct {
	step    step.Step
	started time.Time
	percent int
	shown   int // percent of the last line
	eta     time.Time

	retrying   string    // why the step is retried. Empty if it is not
	retryUntil time.Time // when it is no longer retried
}

func newProgress(ui packersdk.Ui) *progress {
	p := &progress{Ui: ui}
	p.follow(plan.Plan{})
	return p
}

// follow sets the plan whose steps are described.
func (p *progress) follow(of plan.Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.created = map[distribution.StepID]string{}
	p.text = report.StepText{
		Labels:  report.NewLabels(of),
		Created: func(id distribution.StepID) string { return p.created[id] },
	}
	p.steps, p.running = map[distribution.StepID]step.Step{}, map[distribution.StepID]*runningStep{}
	p.waitsTo = `publishing (publish = "all")`
	if of.Move != "" {
		p.waitsTo = "changing what parameters and launch templates name"
	}
	p.verified, p.retries = map[distribution.Location]bool{}, map[string]bool{}
	p.failed = map[distribution.Location]bool{}
	p.tests = report.TestSteps(of.Steps)
	p.testing, p.ended = map[distribution.Location]bool{}, testOutcomes{}
	for _, s := range of.Steps {
		p.steps[s.Meta().ID] = s
		if s.Role() == step.CopiesTest {
			p.testing[s.Meta().Destination] = true
		}
	}
	p.groups = report.CleanupLines(of.Steps)
	if len(p.testing) > 0 {
		p.groups[testCopies] = report.TestCopyLine(len(p.testing))
	}
	p.brief = len(of.Destinations) > mostDestinations
}

// testCopies is the group of the steps of the test copies.
var testCopies = step.Phrase{Text: "test copies"}

// Say prints a line. It delays the next heartbeat.
func (p *progress) Say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(line)
}

// Error prints a line about a failure. It delays the next heartbeat.
func (p *progress) Error(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.printError(line)
}

// begin prints what the run does now. Heartbeats repeat it until a step starts.
func (p *progress) begin(doing string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(doing + "...")
	p.heartbeat.doing = doing
}

// await sets the text of the next heartbeats, without printing a line.
func (p *progress) await(doing string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heartbeat.doing = doing
}

func (p *progress) print(line string) {
	p.Ui.Say(line)
	p.heartbeat.delay()
}

func (p *progress) printError(line string) {
	p.Ui.Error(line)
	p.heartbeat.delay()
}

// cancel prints that the run was canceled. The failures of canceled steps are not printed.
func (p *progress) cancel() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.canceled {
		return
	}
	p.canceled = true
	p.print("Canceling: waiting for calls in progress, creating nothing new...")
}

func (p *progress) isCanceled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.canceled
}

// say prints an event of a step.
func (p *progress) say(e distribution.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.steps[e.Step]
	if s == nil { // of a plan that the run does not show, as for the protection of the source image
		if e.Kind == distribution.Noted {
			p.print(e.Text)
		}
		return
	}
	switch e.Kind {
	case distribution.Begun:
		p.running[e.Step] = &runningStep{step: s, started: e.Time}
		p.start(s)
	case distribution.Progressed:
		p.advance(s, e)
	case distribution.Finished:
		p.created[e.Step] = e.Resource
		delete(p.running, e.Step)
		p.finish(s)
	case distribution.Failed:
		delete(p.running, e.Step)
		p.fail(s, e)
	case distribution.Retrying, distribution.Blocked:
		p.retry(s, e)
	case distribution.Skipped:
		if s.Role() == step.VerifiesTest {
			p.endTest(s, &p.ended.withoutResult)
		}
	case distribution.Noted:
		p.print(p.text.Subject(s) + strings.TrimPrefix(e.Text, s.String()))
	}
	machineEvent(p.Ui, s, e)
}

// start prints the line of a step. A group of steps that tests or cleans up has one line.
func (p *progress) start(s step.Step) {
	group := report.CleanupGroup(s)
	if p.tests[s.Meta().ID] {
		group = testCopies
	}
	if group != (step.Phrase{}) {
		if line := p.groups[group]; line != "" {
			p.print(line + "...")
			p.groups[group] = ""
		}
		return
	}
	if p.brief && s.Meta().Destination != (distribution.Location{}) {
		return
	}
	if doing := p.text.Doing(s); doing != "" {
		p.print(doing + "...")
	}
}

// advance prints the progress of a copy at 25, 50 and 75 %.
func (p *progress) advance(s step.Step, e distribution.Event) {
	r := p.running[e.Step]
	if r == nil {
		return
	}
	r.percent, r.eta = e.Percent, e.ETA
	if e.Percent > 0 { // at 0 % AWS can still refuse the copy for lack of permissions on a key
		r.retrying = ""
	}
	reached := 0
	for _, percent := range shownPercents {
		if e.Percent >= percent {
			reached = percent
		}
	}
	isHidden := p.tests[e.Step] || p.brief
	if isHidden || reached <= r.shown || e.Percent >= 100 {
		return
	}
	r.shown = reached
	line := p.text.CopyProgress(s, e.Percent)
	if left := e.ETA.Sub(e.Time); left > 0 {
		line += ", about " + report.Remaining(left) + " left"
	}
	p.print(line)
}

// retry prints why a step is retried, and for how long. Heartbeats repeat it.
func (p *progress) retry(s step.Step, e distribution.Event) {
	at := s.Meta().Location
	if d := s.Meta().Destination; d != (distribution.Location{}) {
		at = d
	}
	line := "Waiting for " + p.text.Location(at) + ": " + e.Text
	if r := p.running[e.Step]; r != nil {
		r.retrying, r.retryUntil = line, e.ETA
	}
	if p.retries[line] { // another step of the destination has said so
		return
	}
	p.retries[line] = true
	line += ", retrying for " + report.Remaining(e.ETA.Sub(e.Time))
	if e.Kind == distribution.Retrying {
		line += " in case a policy or a share has just changed"
	}
	p.print(line)
}

func (p *progress) finish(s step.Step) {
	switch s.Role() {
	case step.VerifiesTest:
		p.endTest(s, &p.ended.succeeded)
	case step.VerifiesImage:
		p.verified[s.Meta().Destination] = true
		p.waitForOthers()
	}
}

// endTest counts the end of a test copy. After the last one it prints how many succeeded. If none could be made, the
// failure of their source has been printed.
func (p *progress) endTest(s step.Step, count *int) {
	at := s.Meta().Destination
	if !p.testing[at] { // the verification of a copy that failed
		return
	}
	delete(p.testing, at)
	*count++
	if len(p.testing) > 0 || p.canceled || p.ended.withoutResult > 0 && p.ended.succeeded+p.ended.failed == 0 {
		return
	}
	line := fmt.Sprintf("Test copies succeeded: %d of %d",
		p.ended.succeeded, p.ended.succeeded+p.ended.failed+p.ended.withoutResult)
	if n := p.ended.withoutResult; n > 0 {
		line += fmt.Sprintf(", without a result: %d", n)
	}
	p.print(line)
}

// waitForOthers says how many destinations must be verified before any is published.
func (p *progress) waitForOthers() {
	for _, s := range p.steps {
		barrier, ok := s.(step.Holding)
		if !ok {
			continue
		}
		if missing := barrier.HeldDestinations() - len(p.verified); missing > 0 && !p.brief {
			p.print("Waiting for " + distribution.Count(missing, "more destination", "more destinations") +
				" before " + p.waitsTo)
		}
	}
}

// fail prints the failure of a step with AWS's message. The cause is printed at the end of the run.
func (p *progress) fail(s step.Step, e distribution.Event) {
	isTest := s.Role() == step.CopiesTest || s.Role() == step.VerifiesTest
	if isTest {
		defer p.endTest(s, &p.ended.failed)
	}
	reason := strings.TrimPrefix(e.Text, s.String()+": ")
	if p.canceled || strings.Contains(reason, "context canceled") {
		return
	}
	at := s.Meta().Destination
	if p.failed[at] { // its other failures are in the report
		return
	}
	if at != (distribution.Location{}) {
		p.failed[at] = true
	}
	switch {
	case s.Role() == step.PreparesTest:
		p.printError("Test copies could not be made: " + reason)
	case isTest:
		p.printError("Test copy to " + p.text.Location(at) + " failed: " + reason)
	case p.brief && at != (distribution.Location{}):
		p.printError("Failed " + p.text.Location(at) + ": " + reason)
	default:
		p.printError(p.text.Subject(s) + " failed: " + reason)
	}
}

// destination prints the end of a destination.
func (p *progress) destination(d distribution.DestinationResult) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.text.Location(d.At)
	if event := destinationEvents[d.State]; event != "" {
		p.Ui.Machine(machineType, event, d.At.Account, d.At.Region, d.Target, d.ImageID)
	}
	switch d.State {
	case distribution.DestinationSucceeded:
		p.print("Finished " + at + ": " + d.ImageID)
	case distribution.DestinationFailed:
		if !p.canceled && !p.brief {
			p.print("Failed " + at + ": this run does nothing more there")
		}
	}
}

// stop ends the heartbeat.
func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heartbeat.stop()
}

// beat prints what the run waits for, after a minute without a line.
func (p *progress) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.heartbeat.timer == nil { // it was stopped while this call waited
		return
	}
	p.print(p.waiting(time.Now()))
	p.printOutages()
}

// mostOutages is the maximum number of outages that a heartbeat lists. It counts the others.
const mostOutages = 3

// printOutages prints the calls that AWS does not answer, and until when they are retried.
func (p *progress) printOutages() {
	if p.outages == nil {
		return
	}
	all := p.outages()
	for _, o := range all[:min(len(all), mostOutages)] {
		p.print("Still " + p.outageLine(o))
	}
	if more := len(all) - mostOutages; more > 0 {
		p.print("Still waiting for " + distribution.Count(more, "more call", "more calls"))
	}
}

// outage prints that AWS does not answer a call. Heartbeats repeat it.
func (p *progress) outage(o awsclient.Outage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := p.outageLine(o)
	p.print(strings.ToUpper(line[:1]) + line[1:])
}

// outageLine names the call, the last error and the deadline.
func (p *progress) outageLine(o awsclient.Outage) string {
	at := o.At.Region
	if o.At.Account != "" {
		at = p.text.Location(o.At)
	}
	return fmt.Sprintf("waiting for %s in %s: no answer since %s (%s), retrying until %s",
		o.Operation, at, clock(o.Since), o.Reason(), clock(o.Until))
}

// waiting returns what the run waits for, and until when.
func (p *progress) waiting(now time.Time) string {
	var copies, retries, others []*runningStep
	for _, r := range p.running {
		_, copying := r.step.(step.Copying)
		switch {
		case r.retrying != "":
			retries = append(retries, r)
		case copying && !p.tests[r.step.Meta().ID]:
			copies = append(copies, r)
		default:
			others = append(others, r)
		}
	}
	switch {
	case len(copies) > 0 && len(retries) > 0:
		retried := distribution.Count(len(retries), "call", "calls")
		return p.waitingForCopies(now, copies) + "; retrying " + retried
	case len(copies) > 0:
		return p.waitingForCopies(now, copies)
	case len(retries) > 0:
		return waitingForRetry(now, retries)
	}
	slices.SortFunc(others, func(a, b *runningStep) int {
		return cmp.Or(a.started.Compare(b.started), cmp.Compare(a.step.Meta().ID, b.step.Meta().ID))
	})
	doing := p.heartbeat.doing
	for _, r := range others {
		if text := p.text.Doing(r.step); text != "" {
			doing = text
			break
		}
	}
	if doing == "" {
		doing = "Working"
	}
	return "Still " + lowerFirst(doing) + p.heartbeat.limit()
}

// waitingForRetry returns why steps are retried, and until when. It describes the step whose retries end first.
func waitingForRetry(now time.Time, retries []*runningStep) string {
	first := slices.MinFunc(retries, func(a, b *runningStep) int {
		return cmp.Or(a.retryUntil.Compare(b.retryUntil), cmp.Compare(a.step.Meta().ID, b.step.Meta().ID))
	})
	if !first.retryUntil.After(now) {
		return "Still " + lowerFirst(first.retrying) + ", last attempt since " + clock(first.retryUntil)
	}
	return "Still " + lowerFirst(first.retrying) + ", retrying until " + clock(first.retryUntil)
}

func lowerFirst(text string) string { return strings.ToLower(text[:1]) + text[1:] }

// waitingForCopies returns a summary of all copies in progress.
func (p *progress) waitingForCopies(now time.Time, copies []*runningStep) string {
	var gib, done int64
	var last time.Time
	to := map[distribution.Location]bool{}
	for _, r := range copies {
		info := r.step.(step.Copying).Copies()
		gib += info.GiB
		done += info.GiB * int64(r.percent)
		if r.eta.After(last) {
			last = r.eta
		}
		to[r.step.Meta().Destination] = true
	}
	percent := int64(0)
	if gib > 0 {
		percent = done / gib
	}
	left := p.heartbeat.limit()
	if last.After(now) {
		left = ", about " + report.Remaining(last.Sub(now)) + " left"
	}
	return fmt.Sprintf("Still copying %s %s: %d%% of %d GiB%s",
		countCopies(copies), p.whereTo(to), percent, gib, left)
}

// countCopies says how many snapshots and AMIs are copied, such as "2 snapshots and 1 AMI".
func countCopies(copies []*runningStep) string {
	amis := 0
	for _, r := range copies {
		if copying, ok := r.step.(step.Copying); ok && copying.Copies().IsImage {
			amis++
		}
	}
	snapshots := len(copies) - amis
	switch {
	case amis == 0:
		return distribution.Count(snapshots, "snapshot", "snapshots")
	case snapshots == 0:
		return distribution.Count(amis, "AMI", "AMIs")
	}
	return distribution.Count(snapshots, "snapshot", "snapshots") + " and " + distribution.Count(amis, "AMI", "AMIs")
}

// whereTo returns where copies go: the zero location stands for the source account.
func (p *progress) whereTo(destinations map[distribution.Location]bool) string {
	staged := destinations[distribution.Location{}]
	delete(destinations, distribution.Location{})
	text := distribution.Count(len(destinations), "destination", "destinations")
	for at := range destinations {
		if len(destinations) == 1 {
			text = p.text.Location(at)
		}
	}
	switch {
	case len(destinations) == 0:
		return "in the source account"
	case staged:
		return "in the source account and to " + text
	}
	return "to " + text
}
