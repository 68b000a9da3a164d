// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"fmt"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// printStart prints what the run will do.
func (r *run) printStart() {
	r.machineStart()
	from := " from " + r.account
	verbs := map[report.Mode]string{
		report.Distribute: "Distributing %s%s in %s...",
		report.PlanOnly:   "Planning the distribution of %s%s in %s; nothing will be changed in AWS...",
		report.Verify:     "Verifying the copies of %s%s in %s...",
		report.CleanUp:    "Cleaning up after the distribution of %s%s in %s...",
		report.Promote:    "Promoting the copies of %s%s in %s...",
		report.Usage:      "Looking for what uses the copies of %s%s in %s and of the other releases...",
		report.Rollback:   "Rolling back the copies of %s%s in %s...",
	}
	for _, image := range r.images {
		r.ui.Say(fmt.Sprintf(verbs[r.mode()], image.ImageID, from, image.Region))
	}
}

// reading returns a text about what the run looks up. It contains the number of accounts if the template names them
// all.
func (r *run) reading(request distribution.Request) string {
	const what = "Reading snapshots, keys and settings"
	accounts := []string{r.account}
	r.accounts = 0
	for _, t := range request.Targets {
		if len(t.Units) > 0 {
			return what
		}
		accounts = distribution.Union(accounts, t.AccountIDs)
	}
	r.accounts = len(accounts)
	return what + " in " + distribution.Count(len(accounts), "account", "accounts")
}

// printReading prints once what the run looks up. A second lookup prints nothing, because it only checks for changes.
func (r *run) printReading(request distribution.Request) {
	doing := r.reading(request)
	if r.reads {
		r.progress.await(doing)
		return
	}
	r.reads = true
	r.progress.begin(doing)
}

// printPlan prints the plan once, and that its permissions are checked.
func (r *run) printPlan(p plan.Plan, assessment *plan.Assessment) {
	if r.planned || p.Refused() {
		return
	}
	r.planned = true
	text := report.Plan(p)
	if r.mode() == report.PlanOnly {
		text = report.Forecast(p, assessment.Alternatives())
	}
	r.ui.Say(text)
	if dryRuns := execute.CountDryRuns(r.pool, p); dryRuns > 0 {
		r.progress.begin(
			"Checking permissions with " + distribution.Count(dryRuns, "dry run", "dry runs") +
				" in " + distribution.Count(r.accountsOf(p), "account", "accounts"),
		)
	}
}

// accountsOf returns the number of accounts of a plan, with the source account.
func (r *run) accountsOf(p plan.Plan) int {
	if len(p.Destinations) == 0 && r.accounts > 0 {
		return r.accounts
	}
	accounts := []string{r.account}
	for _, d := range p.Destinations {
		if !d.LeftOut {
			accounts = append(accounts, d.At.Account)
		}
	}
	return len(distribution.Union(accounts, nil))
}

// printPlanFindings prints the errors and warnings of a plan. Notes are in the report, and on the screen of a plan.
func (r *run) printPlanFindings(p plan.Plan) {
	levels := []distribution.Level{distribution.Refused, distribution.Warning}
	if r.mode() == report.PlanOnly {
		levels = append(levels, distribution.Note)
	}
	r.printFindings(slices.DeleteFunc(slices.Clone(p.Findings), isKeyUseUnchecked), levels...)
}

// printResult prints the findings of a run, and what it leaves behind.
func (r *run) printResult(result distribution.Result) {
	if !r.progress.isCanceled() { // the errors of canceled steps say only that
		r.printFindings(result.Findings, distribution.Refused, distribution.Warning)
	}
	r.printNotes(slices.Concat(r.plan.Findings, result.Findings))
	if r.movesPointers() {
		for _, line := range report.NewLabels(r.plan).Moved(result.Images) {
			r.ui.Say(line)
		}
		if len(result.Left) == 0 {
			return // a promotion creates nothing that could be left behind
		}
	}
	kept, other := r.keptForResume(result.Left)
	for _, line := range kept {
		r.ui.Say(line)
	}
	if len(kept) > 0 && len(other) == 0 {
		return
	}
	for _, line := range report.NewLabels(r.plan).Left(other, r.accountsOf(r.plan), r.unseen) {
		r.ui.Say(line)
	}
}

// printHeld prints that a successful run has not published its AMIs, and how to publish them.
func (r *run) printHeld() {
	for _, line := range r.manifest().Held() {
		r.ui.Say(line)
	}
}

// notesOfPlan are the codes of the plan's notes about resources that stay after the run. Other notes of a plan are
// about what the run will do.
var notesOfPlan = map[string]bool{
	distribution.CodeNewerReleasePublished: true,
	distribution.CodeOlderReleasesUnproven: true,
	distribution.CodeProtectedByOthers:     true,
	distribution.CodeReleaseKept:           true,
	distribution.CodeResourceKept:          true,
	distribution.CodeRunWithOtherOptions:   true,
	distribution.CodeRunWorking:            true,
	distribution.CodeShareKept:             true,
}

// printNotes prints a line for each note about an existing resource that the run did not change.
func (r *run) printNotes(findings []distribution.Finding) {
	const most = 10
	labels := report.NewLabels(r.plan)
	notes := 0
	for i, f := range findings {
		isOfPlan := i < len(r.plan.Findings)
		if f.Level != distribution.Note || isOfPlan && !notesOfPlan[f.Code] {
			continue
		}
		line := "Note: " + labels.Summary(f)
		if f.Detail != "" {
			line += ": " + firstLine(f.Detail)
		}
		if f.Remediation != "" && !strings.HasPrefix(f.Remediation, "nothing") {
			line += ". Next step: " + f.Remediation
		}
		if r.printed[line] {
			continue
		}
		r.setPrinted(line)
		if notes++; notes <= most {
			r.ui.Say(line)
		}
	}
	if more := notes - most; more > 0 {
		r.ui.Say(distribution.Count(more, "more note", "more notes") + r.alsoInReport())
	}
}

// keptForResume returns a line for each kind of resource that a resumed run uses, and the remaining resources.
func (r *run) keptForResume(
	left []distribution.RetainedResource,
) (lines []string, other []distribution.RetainedResource) {
	var staged, copies, pending, images []distribution.RetainedResource
	for _, l := range left {
		switch {
		case !l.IsKept():
			other = append(other, l)
		case l.Kind == "image":
			images = append(images, l)
		case l.Why == distribution.KeptPending:
			pending = append(pending, l)
		case l.At.Account == r.account:
			staged = append(staged, l)
		default:
			copies = append(copies, l)
		}
	}
	add := func(all []distribution.RetainedResource, one, many string) {
		if len(all) > 0 {
			lines = append(lines, "Keeping "+distribution.Count(len(all), one, many)+sizeOf(all)+" for the resumed run")
		}
	}
	add(staged, "staged snapshot", "staged snapshots")
	add(copies, "snapshot copy", "snapshot copies")
	add(pending, "snapshot copy that AWS is still creating", "snapshot copies that AWS is still creating")
	add(images, "AMI", "AMIs")
	return lines, other
}

// sizeOf returns the size and the monthly cost of resources.
func sizeOf(all []distribution.RetainedResource) string {
	var gib int64
	for _, l := range all {
		gib += l.GiB
	}
	if gib == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d GiB, $%.2f a month)", gib, distribution.USDPerMonth(all))
}

// followCleanup makes the output describe the steps of a cleanup. The destinations keep their labels.
func (r *run) followCleanup(p plan.Plan) {
	if len(p.Destinations) == 0 {
		p.Destinations = r.plan.Destinations
	}
	if len(r.plan.Images) == 0 { // with mode = "cleanup" there is no other plan
		r.plan.Images, r.plan.KeyAliases = p.Images, p.KeyAliases
	}
	r.progress.follow(p)
}

// printEnd prints the files of the run, and its end in machine-readable form.
func (r *run) printEnd() {
	var names []string
	for _, f := range r.files {
		if !f.failed {
			names = append(names, f.name())
		}
	}
	if dir := r.directory(); dir != "" && len(names) > 0 {
		r.ui.Say("Wrote " + joinNames(names) + " to " + dir)
	}
	for _, f := range r.files {
		if !f.failed {
			r.ui.Machine(machineType, "file", f.kind, f.path)
		}
	}
	r.machineEnd(r.manifest())
}

// joinNames joins names: "a, b and c".
func joinNames(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(slices.Clone(names[:last]), ", ") + " and " + names[last]
}

// printMissing prints how to repeat failed and skipped destinations that are optional.
func (r *run) printMissing(missing []plan.DestinationPlan) {
	if len(missing) == 0 {
		return
	}
	skipped := 0
	for _, d := range missing {
		if d.LeftOut {
			skipped++
		}
	}
	var outcomes []string
	if failed := len(missing) - skipped; failed > 0 {
		outcomes = append(outcomes, fmt.Sprintf("%d failed", failed))
	}
	if skipped > 0 {
		outcomes = append(outcomes, distribution.Count(skipped, "was skipped", "were skipped"))
	}
	command, _ := r.resumeCommand()
	r.ui.Say(fmt.Sprintf("Of %s, %s, which the template allows. To try again: %s",
		distribution.Count(len(r.plan.Destinations), "destination", "destinations"),
		joinNames(outcomes), strings.Join(command, "; ")))
}
