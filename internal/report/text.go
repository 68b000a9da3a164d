// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package report renders plans, progress and results: as text for the screen, and as files.
package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// Findings returns findings as text, the most severe first. Empty for none.
func Findings(findings []distribution.Finding) string { return strings.Join(Each(findings), "\n") }

// Each returns the text of every finding, the most severe first.
func Each(findings []distribution.Finding) []string {
	var all []string
	for _, f := range bySeverity(findings) {
		all = append(all, NewLabels(plan.Plan{}).Finding(f))
	}
	return all
}

func bySeverity(findings []distribution.Finding) []distribution.Finding {
	sorted := slices.Clone(findings)
	slices.SortStableFunc(
		sorted,
		func(a, b distribution.Finding) int {
			return cmp.Compare(severityOrder[a.Level], severityOrder[b.Level])
		},
	)
	return sorted
}

var severityOrder = map[distribution.Level]int{distribution.Refused: 0, distribution.Warning: 1, distribution.Note: 2}

var severityLabels = map[distribution.Level]string{
	distribution.Refused: "Error",
	distribution.Warning: "Warning",
	distribution.Note:    "Note",
}

// Finding returns a finding as text: where and what, the detail, the next step, and the statements to add.
func (l Labels) Finding(f distribution.Finding) string {
	var t text
	head := []string{severityLabels[f.Level]}
	if f.Field != "" {
		head = append(head, f.Field)
	}
	if where := l.Where(f); where != "" {
		head = append(head, where)
	}
	t.line("%s: %s", strings.Join(head, ": "), l.summary(f))
	if f.Detail != "" {
		t.line("  %s", clean(Sentence(f.Detail)))
	}
	if message := awsError(f.AWSCode, f.AWSMessage); message != "" {
		t.line("  AWS: %s", clean(message))
	}
	if f.Remediation != "" {
		t.line("  Next step: %s", clean(Sentence(f.Remediation)))
	}
	t.statements(f)
	return t.text()
}

// Where returns the account and Region of a finding, or the number of locations if the same cause affects several.
func (l Labels) Where(f distribution.Finding) string {
	all := locations(f)
	switch {
	case f.Location == (distribution.Location{}):
		return ""
	case len(all) == 1:
		return l.Location(f.Location)
	}
	return fmt.Sprintf("%s in %s",
		distribution.Count(len(all), "destination", "destinations"),
		distribution.Count(len(accountsOf(all)), "account", "accounts"))
}

// Missing returns the destinations without a published image.
func Missing(p plan.Plan, r distribution.Result) []plan.DestinationPlan {
	return slices.DeleteFunc(slices.Clone(p.Destinations), func(d plan.DestinationPlan) bool {
		return slices.ContainsFunc(
			r.Images,
			func(created distribution.CreatedImage) bool { return created.At == d.At && created.Published() },
		)
	})
}

// Unshared returns the shares that were not completed, each with its missing grants.
func Unshared(p plan.Plan, r distribution.Result) []plan.SharePlan {
	var all []plan.SharePlan
	for _, s := range p.Shares {
		s.Grants = slices.DeleteFunc(slices.Clone(s.Grants), func(g distribution.KeyGrantResult) bool {
			return slices.ContainsFunc(r.Grants, func(o distribution.KeyGrantResult) bool {
				return o.At == g.At && o.KeyARN == g.KeyARN && o.Name == g.Name
			})
		})
		if len(s.Grants) > 0 || !isShared(s, r) {
			all = append(all, s)
		}
	}
	return all
}

func isShared(s plan.SharePlan, r distribution.Result) bool {
	isUnset := func(p distribution.Pointer) bool { return !p.Set && !p.Held }
	return slices.ContainsFunc(r.Shares, func(shared distribution.Shared) bool {
		return shared.At == s.At && !slices.ContainsFunc(shared.Pointers, isUnset)
	})
}

// Left returns a line for each resource that a run leaves behind, or one line that says that nothing is left. unseen is
// the number of accounts that could not be searched, where resources may be left.
func (l Labels) Left(left []distribution.RetainedResource, accounts, unseen int) []string {
	if len(left) == 0 {
		checked := distribution.Count(accounts-unseen, "account", "accounts")
		if unseen > 0 {
			return []string{"Nothing is left behind in " + checked + ". " + distribution.Count(unseen, "account", "accounts") +
				" could not be looked at"}
		}
		return []string{"Nothing is left behind (checked in " + checked + ")"}
	}
	const shown = 20
	var lines []string
	for _, r := range left[:min(len(left), shown)] {
		size := ""
		if r.GiB > 0 {
			size = fmt.Sprintf(" (%d GiB)", r.GiB)
		}
		lines = append(
			lines,
			fmt.Sprintf("Left behind: %s %s%s in %s: %s", r.Kind, r.Resource, size, l.Location(r.At), clean(r.Why)),
		)
	}
	if more := len(left) - shown; more > 0 {
		lines = append(lines, fmt.Sprintf("Left behind: %d more, see the report", more))
	}
	if cost := monthlyCost(distribution.USDPerMonth(left)); cost != "" {
		lines = append(lines, "What is left behind costs "+cost)
	}
	return lines
}

// Duration returns a duration to the minute, and below a minute to the second.
func Duration(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// minutes returns a duration in words: "9 minutes".
func minutes(d time.Duration) string {
	switch {
	case d < time.Minute:
		return distribution.Count(int(d.Round(time.Second).Seconds()), "second", "seconds")
	case d < 2*time.Hour:
		return distribution.Count(int(d.Round(time.Minute).Minutes()), "minute", "minutes")
	}
	return Duration(d)
}

// Remaining returns the time left of a copy: "40s", "1m10s", "9m".
func Remaining(d time.Duration) string {
	switch {
	case d < time.Minute:
		d = max(d.Round(5*time.Second), 5*time.Second)
	case d < 5*time.Minute:
		d = d.Round(10 * time.Second)
	default:
		d = d.Round(time.Minute)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

// text is a text that grows line by line.
type text struct{ strings.Builder }

// text returns the lines without the last line break.
func (t *text) text() string { return strings.TrimSuffix(t.String(), "\n") }

func (t *text) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// statements writes the statements to add to policies.
func (t *text) statements(f distribution.Finding) {
	for _, lack := range newFinding("", f, NewLabels(plan.Plan{})).lacks() {
		t.line("  Add to the %s:", clean(lack.AttachTo))
		for _, statement := range lack.Statements {
			t.line("    %s", statement)
		}
	}
}

// monthlyCost returns what resources cost a month, at the list price that package distribution names. Empty for
// nothing.
func monthlyCost(usd float64) string {
	if usd > 0 {
		return fmt.Sprintf("up to $%.2f a month (list price, us-east-1)", usd)
	}
	return ""
}

// clean escapes unprintable characters in a text from AWS or from the template, so that a terminal does not interpret
// them.
func clean(foreign string) string {
	if strings.IndexFunc(foreign, unprintable) < 0 {
		return foreign
	}
	var out strings.Builder
	for _, r := range foreign {
		if unprintable(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// awsError joins the code and the message of an error of AWS. Empty without both.
func awsError(code, message string) string {
	return strings.Trim(code+": "+message, ": ")
}

// plainWord matches a text that begins with a plain word, not with the name of an option, a resource or an action.
var plainWord = regexp.MustCompile(`^[a-z][a-z']*([ ,;]|$)`)

// Sentence returns a text with a capital letter and a period. Findings of the plan are written as phrases.
func Sentence(text string) string {
	if text == "" {
		return ""
	}
	if plainWord.MatchString(text) {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, ":") && !strings.HasSuffix(text, "?") {
		text += "."
	}
	return text
}
