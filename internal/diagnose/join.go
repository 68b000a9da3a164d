// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// JoinFindings returns the findings of a run, with each cause once. known are the findings of its plan. If EC2 does not
// name the cause of a failed copy, the denied dry runs in known make the advice more precise.
func JoinFindings(known, failed []distribution.Finding) []distribution.Finding {
	var joined []distribution.Finding
	for _, f := range failed {
		f = connectDryRun(explainInterruption(f), deniedGrants(known, f))
		i := slices.IndexFunc(joined, func(other distribution.Finding) bool { return hasSameCause(f, other) })
		if i < 0 {
			joined = append(joined, f)
			continue
		}
		joined[i] = merge(joined[i], f)
	}

	for i := range joined {
		joined[i].Detail += hits(joined[i])
	}
	return joined
}

// explainInterruption returns the finding for a step that the end of the run interrupted. The error of the step is that
// of the context, which names neither the cause nor a next step.
func explainInterruption(f distribution.Finding) distribution.Finding {
	switch {
	case f.Level != distribution.Refused:
	case strings.Contains(f.Detail, "context canceled"):
		f.Summary, f.Detail = "the run was canceled while a step was in progress", copiesContinue
		f.Remediation = "Resume the run. It keeps what is completed."
	case strings.HasPrefix(f.Detail, "timeout: "):
		f.Summary, f.Detail = f.Detail, copiesContinue
		f.Remediation = "Resume the run, with a longer timeout if the copies need it. It keeps what is completed."
	}
	return f
}

const copiesContinue = "Copies that have started continue in AWS."

// deniedGrants returns the denied dry runs of kms:CreateGrant on the keys of a failed copy, by the caller of the copy.
func deniedGrants(known []distribution.Finding, failed distribution.Finding) []distribution.Finding {
	isCopyKeyFailure := failed.Reference == "1.8.4" || failed.Reference == "1.8.5"
	if !isCopyKeyFailure || failed.Level != distribution.Refused {
		return nil
	}

	var denied []distribution.Finding
	for _, f := range known {
		refusals := f.Refusals
		if len(refusals) == 0 {
			refusals = []distribution.Finding{f}
		}
		for _, refusal := range refusals {
			isByCaller := refusal.Principal == failed.Principal && refusal.Location == failed.Location
			isAboutKey := refusal.Operation == "kms:CreateGrant" && namesKey(failed, refusal.Resource)
			if isByCaller && isAboutKey {
				denied = append(denied, refusal)
			}
		}
	}
	return denied
}

// namesKey reports whether a finding is about a key, or has a statement for it.
func namesKey(f distribution.Finding, key string) bool {
	return f.Resource == key || slices.ContainsFunc(f.PolicyStatements, func(a distribution.Addition) bool {
		return slices.Contains(a.Statement.Resource, key) || strings.HasPrefix(a.Policy, "key policy of "+key+",")
	})
}

// connectDryRun replaces the advice for a failed copy by the statements for the grants that a dry run was denied. A dry
// run alone proves nothing, because a policy may allow only EC2 to create the grants (6.8).
func connectDryRun(failed distribution.Finding, denied []distribution.Finding) distribution.Finding {
	if len(denied) == 0 {
		return failed
	}

	var keys, steps []string
	failed.PolicyStatements = nil
	for _, d := range denied {
		keys = append(keys, d.Resource)
		if len(d.PolicyStatements) == 0 {
			steps = append(steps, strings.TrimSuffix(d.Remediation, " "+mayBeAllowed)) // the copy shows that it was denied
		}
		failed.PolicyStatements = AppendStatements(failed.PolicyStatements, d.PolicyStatements)
	}
	who := cmp.Or(match{Case: Case{Principal: failed.Principal}}.caller().name, "the caller")
	failed.Code = createGrantDenied
	failed.Summary = who + " may not kms:CreateGrant on " + strings.Join(keys, " or ")
	failed.Detail = "EC2 creates a grant on the key of the copy and on the key of the source. " +
		"The dry run was denied: " + denied[0].AWSMessage + "."
	steps = append([]string{StatementInstruction(failed.PolicyStatements, "")}, slices.Compact(steps)...)
	if len(failed.PolicyStatements) == 0 { // a deny, which no statement overrides
		failed.Code = denied[0].Code
	} else {
		steps = append(steps, "If the policies allow it already, allow kms:GenerateDataKeyWithoutPlaintext on the key of "+
			"the copy, and check the state of the keys.")
	}
	failed.Remediation = strings.Join(withoutEmpty(steps), " ")
	return failed
}

// AppendStatements appends the statements that a list lacks.
func AppendStatements(list, more []distribution.Addition) []distribution.Addition {
	for _, a := range more {
		has := func(b distribution.Addition) bool { return reflect.DeepEqual(a, b) }
		if !slices.ContainsFunc(list, has) {
			list = append(list, a)
		}
	}
	return list
}

// hasSameCause reports whether two failures have the same cause and the same next step, or are the same finding. Their
// summaries begin with different steps.
func hasSameCause(a, b distribution.Finding) bool {
	if a.Level != distribution.Refused || a.Detail+a.AWSMessage == "" {
		return reflect.DeepEqual(a, b)
	}
	b.Location, b.Resource, b.Summary = a.Location, a.Resource, a.Summary
	b.PolicyStatements, b.Also = a.PolicyStatements, a.Also
	return reflect.DeepEqual(a, b)
}

// merge adds a failure to a finding with the same cause.
func merge(f, other distribution.Finding) distribution.Finding {
	f.PolicyStatements = AppendStatements(slices.Clip(f.PolicyStatements), other.PolicyStatements)
	failure := distribution.Failure{At: other.Location, Summary: other.Summary}
	isFirst := failure == distribution.Failure{At: f.Location, Summary: f.Summary}
	if f.Level == distribution.Refused && !isFirst && !slices.Contains(f.Also, failure) {
		f.Also = append(slices.Clip(f.Also), failure)
	}
	return f
}

// JoinPlanFindings returns the findings of a plan, with each error once. A role is the same in every Region, and a
// target may have many accounts, so the same error would otherwise appear for each of them.
func JoinPlanFindings(findings []distribution.Finding) []distribution.Finding {
	var joined []distribution.Finding
	for _, f := range findings {
		i := slices.IndexFunc(joined, func(other distribution.Finding) bool { return isSameForEachAccount(f, other) })
		if i < 0 {
			joined = append(joined, f)
			continue
		}
		joined[i] = mergeAccounts(joined[i], f)
	}

	for i := range joined {
		if len(joined[i].Also) > 0 {
			joined[i].Detail = Sentence(joined[i].Detail) + hits(joined[i])
		}
	}
	return joined
}

// Sentence ends a text with a period, so that another sentence can follow.
func Sentence(text string) string {
	if text == "" || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

// isSameForEachAccount reports whether two errors differ only in their accounts and Regions.
func isSameForEachAccount(a, b distribution.Finding) bool {
	hasLocation := a.Location != (distribution.Location{}) && b.Location != (distribution.Location{})
	if a.Level != distribution.Refused || !hasLocation {
		return false
	}
	return reflect.DeepEqual(withoutLocation(a), withoutLocation(b))
}

// withoutLocation returns a finding with placeholders for its account and Region, and without its statements.
func withoutLocation(f distribution.Finding) distribution.Finding {
	replacer := strings.NewReplacer(f.Location.Account, "{account}", f.Location.Region, "{region}")
	for _, text := range []*string{&f.Summary, &f.Detail, &f.AWSMessage, &f.Remediation, &f.Principal, &f.Resource} {
		*text = replacer.Replace(*text)
	}
	f.Location, f.PolicyStatements, f.Also = distribution.Location{}, nil, nil
	return f
}

// mergeAccounts adds the error of another account or Region to a finding. Its next step covers the statements of both.
func mergeAccounts(f, other distribution.Finding) distribution.Finding {
	before := StatementInstruction(f.PolicyStatements, "")
	f.PolicyStatements = JoinStatements(f.PolicyStatements, other.PolicyStatements)
	if rest, ok := strings.CutPrefix(f.Remediation, strings.TrimSuffix(before, ".")); ok && before != "" {
		f.Remediation = strings.TrimSuffix(StatementInstruction(f.PolicyStatements, ""), ".") + rest
	}
	failure := distribution.Failure{At: other.Location, Summary: other.Summary}
	if other.Location != f.Location && !slices.Contains(f.Also, failure) {
		f.Also = append(slices.Clip(f.Also), failure)
	}
	return f
}

// JoinStatements adds statements to those of a list. Statements of the same policy that differ only in their resources
// become one.
func JoinStatements(list, more []distribution.Addition) []distribution.Addition {
	list = slices.Clone(list)
	for _, a := range more {
		i := slices.IndexFunc(list, func(b distribution.Addition) bool { return differInResourcesOnly(a, b) })
		if i < 0 {
			list = append(list, a)
			continue
		}
		joined := list[i].Statement
		joined.Resource = distribution.Union(joined.Resource, a.Statement.Resource)
		list[i].Statement = joined
	}
	return list
}

func differInResourcesOnly(a, b distribution.Addition) bool {
	a.Statement.Sid, a.Statement.Resource = b.Statement.Sid, b.Statement.Resource
	return reflect.DeepEqual(a, b)
}

// mostHits is the maximum number of locations that a finding lists.
const mostHits = 10

// hits returns where a cause made steps fail, as a sentence. Empty if there is only one location.
func hits(f distribution.Finding) string {
	locations := []string{f.Location.String()}
	for _, failure := range f.Also {
		if at := failure.At.String(); !slices.Contains(locations, at) {
			locations = append(locations, at)
		}
	}
	if len(locations) == 1 {
		return ""
	}
	slices.Sort(locations)
	if more := len(locations) - mostHits; more > 0 {
		locations = append(locations[:mostHits], fmt.Sprintf("%d more", more))
	}
	return " It failed in " + strings.Join(locations, ", ") + "."
}
