// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/resume"
)

// errorLines is the maximum number of lines of an error. Packer prints an error of a post-processor twice.
const errorLines = 10

// failure is the error of a run: what failed, why, what to do, and how to resume.
type failure struct {
	headline string // "1 of 2 destinations failed; ami-0a is kept and protected from deregistration"
	failed   []string
	fix      string
	resume   []string // the command, and the variables that it needs
	giveUp   string
	report   string
	note     string // about what Packer prints next
}

// explain returns the error that Packer prints. The run has already printed the details.
func (r *run) explain(err error) error {
	if len(r.images) == 0 {
		return err
	}
	f := failure{headline: r.outcome(err) + r.imageState()}
	if !r.canceled {
		f.failed, f.fix = r.causes(err)
	}
	if r.resumes() {
		f.resume, f.giveUp = r.resumeCommand()
	}
	if report := r.reportFile(); report != "" && !r.canceled {
		f.report = report
	}
	if r.isProtected() && !r.userSupplied && !r.canceled {
		f.note = `"Error destroying builder artifact" below is expected: ` +
			`the protection stopped Packer from deregistering the AMI. ` +
			`A build with -force cannot replace it either, until this run is resumed or given up.`
	}
	return &explainedError{text: f.text(), err: err}
}

// explainedError has the text of a failure, and wraps its cause.
type explainedError struct {
	text string
	err  error
}

func (e *explainedError) Error() string { return e.text }
func (e *explainedError) Unwrap() error { return e.err }

// headline returns in one line why the run failed. If there are findings, they have more details.
func (r *run) headline(err error) string {
	outcome := r.outcome(err)
	if _, isOutcome := errors.AsType[*outcomeError](err); !isOutcome && !r.canceled {
		outcome = strings.Join(limitCauses(errorsOf(err)), "; ")
	}
	if len(r.images) == 0 {
		return outcome
	}
	return outcome + r.imageState()
}

// outcome returns what the run achieved.
func (r *run) outcome(err error) string {
	if r.canceled {
		return "canceled: " + r.finishedOf()
	}
	if err, ok := errors.AsType[*outcomeError](err); ok {
		return err.outcome
	}
	switch r.mode() {
	case report.CleanUp:
		return "the cleanup failed"
	case report.Verify:
		return "the verification failed"
	case report.PlanOnly:
		return "the plan failed"
	case report.Usage:
		return "the usage is not known"
	case report.Promote, report.Rollback:
		return "nothing was changed"
	}
	return "nothing was created"
}

func (r *run) finishedOf() string {
	all := len(r.result.Destinations)
	if all == 0 {
		return "nothing was created"
	}
	finished := all - len(unfinished(r.result))
	return fmt.Sprintf("%d of %s finished", finished, distribution.Count(all, "destination", "destinations"))
}

// outcomeError is an error whose details are findings of the result.
type outcomeError struct{ outcome string }

func (e *outcomeError) Error() string { return e.outcome }

// imageState returns the end of the headline, which says whether the AMI of the build is kept.
func (r *run) imageState() string {
	if r.userSupplied || r.mode() == report.PlanOnly {
		return ""
	}
	is, it := " is ", "it"
	if len(r.images) > 1 {
		is, it = " are ", "them"
	}
	state := "kept and protected from deregistration"
	switch {
	case r.gone:
		return ""
	case r.unprotected:
		state = "not protected, and Packer deregisters " + it + " now"
	}
	return "; " + r.sourceIDs() + is + state
}

// sourceIDs returns the ids of the source AMIs.
func (r *run) sourceIDs() string {
	ids := make([]string, len(r.images))
	for i, image := range r.images {
		ids[i] = image.ImageID
	}
	return strings.Join(ids, ", ")
}

func (r *run) isProtected() bool { return len(protected(r.result.Source)) > 0 }

// mostCauses is the maximum number of causes that an error lists.
const mostCauses = 3

// causes returns why the run failed, a line for each cause, and what to do.
func (r *run) causes(err error) (lines []string, fix string) {
	all := r.errorFindings()
	_, isOutcome := errors.AsType[*outcomeError](err)
	switch {
	case len(all) == 0 && isOutcome:
		return nil, ""
	case isConfigurationError(err):
		return limitCauses(errorsOf(err)), r.templateFix()
	case len(all) == 0 && explainCredentials(err) != nil:
		f := explainCredentials(err)
		return []string{f.Summary}, report.Sentence(f.Remediation)
	case len(all) == 0:
		return []string{firstLine(strings.TrimPrefix(err.Error(), r.outcome(err)+": "))}, ""
	}
	labels := report.NewLabels(r.plan)
	for _, f := range all {
		lines = append(lines, labels.Summary(f))
	}
	return limitCauses(lines), r.fix(all)
}

// explainCredentials returns the explanation of an error of the source credentials. Nil for other errors.
func explainCredentials(err error) *distribution.Finding {
	refusal := awsclient.Refused(awsclient.Operation(err), err)
	isRefused := refusal.Code != "" && strings.HasPrefix(refusal.Operation, "sts:")
	if refusal.Cause == "" && !isRefused {
		return nil
	}
	f := diagnose.Explain(diagnose.Case{Refusal: *refusal})
	f.Summary = "the source credentials cannot be used: " + f.Summary
	switch {
	case f.AWSMessage != "":
		f.Summary += ": " + strings.TrimPrefix(f.AWSCode+": "+firstLine(f.AWSMessage), ": ")
	case strings.Contains(f.Detail, refusal.Message):
		f.Summary += ": " + firstLine(refusal.Message)
	}
	return &f
}

// errorFindings returns the errors of the result, without those that are only a consequence of the end of the run.
func (r *run) errorFindings() []distribution.Finding {
	return slices.DeleteFunc(slices.Clone(r.result.Findings), func(f distribution.Finding) bool { return !isRefusal(f) })
}

// fix returns what the user must do about the causes.
func (r *run) fix(causes []distribution.Finding) string {
	f := causes[0]
	same := func(o distribution.Finding) bool { return o.Remediation == f.Remediation }
	isOne := !slices.ContainsFunc(causes, func(o distribution.Finding) bool { return !same(o) })
	switch {
	case !isOne:
		return "See the next steps printed above" + r.alsoInReport() + "."
	case len(f.PolicyStatements) > 0:
		return report.NewLabels(r.plan).WithAliases(
			diagnose.StatementInstruction(statementsOf(causes), " printed above"+r.alsoInReport()))
	case f.Field != "" && r.resumeFile() != "":
		return report.Sentence(f.Remediation) + " " + r.optionFix(f)
	}
	return report.Sentence(f.Remediation)
}

// statementsOf returns the policy statements of all causes, as they were printed.
func statementsOf(causes []distribution.Finding) []distribution.Addition {
	var all []distribution.Addition
	for _, f := range causes {
		all = diagnose.AppendStatements(all, f.PolicyStatements)
	}
	return all
}

// optionFix returns where to correct the option of a finding. The resume file has no external ID, only a variable.
func (r *run) optionFix(f distribution.Finding) string {
	block, _ := strings.CutSuffix(f.Field, ": assume_role")
	v, isVariable := resume.ExternalIDOf(block, r.resumeVariables)
	switch {
	case f.Code == codeAssumeRoleDenied && !strings.Contains(f.Summary, "external_id"): // it worked in another account
		return "If the name is wrong, correct " + f.Field + " in your template and in resume.pkr.hcl."
	case f.Code == codeAssumeRoleDenied && !isVariable && strings.Contains(f.Summary, "external_id is missing"):
		return "If it has one: in your template and in resume.pkr.hcl, add " + externalIDLine + " to assume_role of " +
			block + ", and " + externalIDVariable + ". Resume with " + resume.Variable{Name: "external_id"}.Flag() +
			"; never write the value into a file."
	case f.Code != codeAssumeRoleDenied || !isVariable:
		return "Correct " + f.Field + " in your template and in resume.pkr.hcl."
	case v.FromEnvironment:
		return "Correct external_id in your template, and PKR_VAR_" + v.Name + " before you resume."
	}
	return "Correct external_id in your template, and pass it with " + v.Flag() + " when you resume."
}

// Lines that add an external ID to a template. The value, a secret, comes from the command line or the environment.
const (
	externalIDLine     = "external_id = var.external_id"
	externalIDVariable = `variable "external_id" { sensitive = true }`
)

// codeAssumeRoleDenied is the code of a finding about a role that cannot be assumed.
const codeAssumeRoleDenied = "assume_role_denied"

func (r *run) alsoInReport() string {
	if r.reportFile() == "" {
		return ""
	}
	return " (also in " + r.fileName("report.md") + ")"
}

// templateFix returns the next step after errors of options.
func (r *run) templateFix() string {
	if r.resumeFile() != "" {
		return "Correct the options in your template and in resume.pkr.hcl."
	}
	return "Correct the options in your template."
}

// errorsOf returns the errors of all options, with one line each.
func errorsOf(err error) []string {
	var lines []string
	if several, ok := errors.AsType[*packersdk.MultiError](err); ok {
		for _, one := range several.Errors {
			lines = append(lines, firstLine(one.Error()))
		}
		return lines
	}
	return []string{firstLine(err.Error())}
}

// limitCauses returns at most mostCauses lines, and a line with the number of the others.
func limitCauses(lines []string) []string {
	lines = slices.Compact(lines)
	if more := len(lines) - mostCauses; more > 0 {
		return append(
			lines[:mostCauses:mostCauses],
			"and "+distribution.Count(more, "more cause", "more causes")+", see above",
		)
	}
	return lines
}

// resumes reports whether the run can be resumed. Only a run that distributes images can.
func (r *run) resumes() bool {
	return r.mode() == report.Distribute && (r.userSupplied || !r.unprotected)
}

// resumeCommand returns the command that resumes the run with the variables that it needs, and how to give up.
func (r *run) resumeCommand() (lines []string, giveUp string) {
	path := r.resumeFile()
	if path == "" {
		return []string{"the same options with source \"null\" and existing_amis = " +
			"" + r.imagesAsHCL()}, `the same with mode = "cleanup"`
	}
	lines = []string{resume.Command(path, r.resumeVariables)}
	if names := resume.UsedEnvironment(r.resumeVariables); names != "" {
		lines = append(lines, "uses "+names)
	}
	return lines, resume.CleanupCommand(path, r.resumeVariables)
}

// imagesAsHCL returns the source AMIs as a value of existing_amis.
func (r *run) imagesAsHCL() string {
	pairs := make([]string, len(r.images))
	for i, image := range r.images {
		pairs[i] = fmt.Sprintf("%q = %q", image.Region, image.ImageID)
	}
	return "{ " + strings.Join(pairs, ", ") + " }"
}

// text returns the error in at most errorLines lines. If there are many causes, it omits blank lines and the variables
// of the environment.
func (f failure) text() string {
	lines := f.lines(false)
	if len(lines) > errorLines {
		lines = f.lines(true)
	}
	return strings.Join(lines, "\n")
}

func (f failure) lines(dense bool) []string {
	lines := []string{f.headline}
	blank := func() {
		if !dense && lines[len(lines)-1] != "" {
			lines = append(lines, "")
		}
	}
	add := func(label string, texts ...string) {
		for _, text := range texts {
			lines = append(lines, fmt.Sprintf("%-8s %s", label, text))
			label = ""
		}
	}
	blank()
	add("Failed:", f.failed...)
	add("Fix:", nonEmpty(f.fix)...)
	if dense && len(f.resume) > 0 {
		add("Resume:", f.resume[0])
	} else {
		add("Resume:", f.resume...)
	}
	add("Give up:", nonEmpty(f.giveUp)...)
	add("Report:", nonEmpty(f.report)...)
	if f.note != "" {
		blank()
		lines = append(lines, f.note)
	}
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

func nonEmpty(text string) []string {
	if text == "" {
		return nil
	}
	return []string{text}
}

func firstLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return strings.TrimSuffix(first, ":")
}

// protected returns the source AMIs that the run has protected.
func protected(source []distribution.SourceImageResult) []string {
	var images []string
	for _, image := range source {
		if image.Protected {
			images = append(images, image.ImageID+" in "+image.Region)
		}
	}
	return images
}

// howToDisableProtection returns the commands that disable the protection of the source AMIs.
func howToDisableProtection(source []distribution.SourceImageResult) string {
	var lines []string
	for _, image := range source {
		if image.Protected {
			lines = append(lines, fmt.Sprintf("  aws ec2 disable-image-deregistration-protection --region %s --image-id %s",
				image.Region, image.ImageID))
		}
	}
	return strings.Join(lines, "\n")
}

// howToDelete returns a text that the source AMI is kept, and how to delete it.
func (r *run) howToDelete() []string {
	var lines []string
	for _, image := range r.images {
		lines = append(lines, fmt.Sprintf("%s is kept. To delete it: "+
			"aws ec2 deregister-image --region %s --image-id %s --delete-associated-snapshots",
			image.ImageID, image.Region, image.ImageID))
	}
	return lines
}

// unprotectedAdvice is the next step if the protection cannot be enabled.
const unprotectedAdvice = "The AMI is not protected: Packer deregisters it if this post-processor fails. To keep it " +
	"in every case, " +
	"put the post-processor \"manifest\" before this one in the same post-processors block."

// printFindings prints findings, each once in a run, with errors and warnings first.
func (r *run) printFindings(findings []distribution.Finding, levels ...distribution.Level) {
	const most = 10
	labels := report.NewLabels(r.plan)
	printed := 0
	for _, level := range levels {
		for _, f := range findings {
			text := labels.Finding(f)
			if f.Level != level || r.printed[text] {
				continue
			}
			if printed++; printed > most {
				continue
			}
			r.setPrinted(text)
			if level == distribution.Refused {
				r.ui.Error(text)
			} else {
				r.ui.Say(text)
			}
		}
	}
	if more := printed - most; more > 0 {
		r.ui.Say(distribution.Count(more, "more finding", "more findings") + ": " +
			cmp.Or(r.reportFile(), "set output_directory to get a report"))
	}
}

// setPrinted prevents a finding from being printed again.
func (r *run) setPrinted(text string) {
	if r.printed == nil {
		r.printed = map[string]bool{}
	}
	r.printed[text] = true
}

// reportFile returns the path of the HTML report. Empty without an output directory.
func (r *run) reportFile() string {
	if r.directory() == "" {
		return ""
	}
	return filepath.Join(r.directory(), r.fileName("report.html"))
}
