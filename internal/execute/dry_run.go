// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"golang.org/x/sync/errgroup"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// maxDryRuns limits the concurrent dry runs.
const maxDryRuns = 10

// CountDryRuns returns how many dry runs DryRun makes for a plan.
func CountDryRuns(pool *awsclient.Pool, p plan.Plan) int {
	return len(listDryRuns(pool, p.Steps))
}

// DryRun makes the calls of a plan as dry runs, each once for an account and Region. It returns those that AWS
// would refuse. A dry run checks permissions only. It cannot check snapshots, or conditions on resources that do
// not exist yet. A refusal is a warning at an optional destination, and at up to mayFail others.
func DryRun(ctx context.Context, pool *awsclient.Pool, p plan.Plan, mayFail int) []distribution.Finding {
	dryRuns := listDryRuns(pool, p.Steps)
	found := make([]*distribution.Finding, len(dryRuns))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	slots := make(chan struct{}, maxDryRuns)
	first := make(chan struct{})
	for i, d := range dryRuns {
		if i == 1 { // if AWS performs the first one, no other may be sent
			awaitFirst(first)
		}
		slots <- struct{}{}
		group.Go(func() error {
			ctx, release := awsclient.WithSlot(ctx, func() { <-slots })
			defer release()
			if i == 0 {
				defer close(first)
			}
			return recovery.Do(func() error {
				if ctx.Err() != nil {
					return nil
				}
				limited, cancel := context.WithTimeout(ctx, dryRunTimeout)
				defer cancel()
				created, err := d.Call(limited)
				if limited.Err() != nil && ctx.Err() == nil {
					found[i] = uncheckedFinding(d, err)
					return nil
				}
				if err == nil { // AWS ignored DryRun, so no further call is safe
					stop()
					found[i] = performedFinding(d, created)
					return nil
				}
				found[i] = dryRunFinding(ctx, pool, p, d, err)
				return nil
			})
		})
	}

	if err := group.Wait(); err != nil {
		return []distribution.Finding{
			{
				Level:   distribution.Warning,
				Code:    distribution.CodePermissionsUnchecked,
				Summary: "the permissions could not be checked",
				Detail:  err.Error(),
			},
		}
	}

	var findings, unproven []distribution.Finding
	for _, d := range found {
		switch {
		case d == nil:
		case d.Level == distribution.Note:
			unproven = append(unproven, *d)
		default:
			findings = append(findings, *d)
		}
	}

	findings = mergeDenials(findings)
	return append(tolerateRefusals(p, findings, mayFail), mergeUnproven(unproven)...)
}

// awaitFirst waits for the first dry run, but not for one that AWS does not answer.
func awaitFirst(first <-chan struct{}) {
	timer := time.NewTimer(firstDryRunTimeout)
	defer timer.Stop()
	select {
	case <-first:
	case <-timer.C:
	}
}

// firstDryRunTimeout bounds the time that the other dry runs wait for the first one.
const firstDryRunTimeout = 5 * time.Second

// dryRunTimeout bounds a dry run that AWS does not answer. Its permission remains unchecked.
const dryRunTimeout = 2 * time.Minute

// uncheckedFinding returns the finding for a dry run that AWS did not answer.
func uncheckedFinding(d step.DryRun, err error) *distribution.Finding {
	operation, _, _ := strings.Cut(d.Action, " ")
	return &distribution.Finding{
		Level:       distribution.Warning,
		Code:        distribution.CodePermissionsUnchecked,
		Location:    d.Step.Meta().Location,
		Operation:   operation,
		Resource:    d.Resource,
		Summary:     "the permission for " + operation + " could not be checked",
		Detail:      fmt.Sprintf("AWS did not answer the dry run within %v: %s", dryRunTimeout, step.Reason(err)),
		Remediation: "nothing: the run continues, and the call itself shows it",
	}
}

// mergeUnproven merges all notes about keys into one. A key policy that allows only AWS services to create grants
// cannot be checked by a dry run. Without the merge each key of each account would add a note.
func mergeUnproven(unproven []distribution.Finding) []distribution.Finding {
	const shown = 5
	if len(unproven) == 0 {
		return nil
	}

	var keys []string
	for _, f := range unproven {
		keys = append(keys, f.Resource+" in "+f.Location.String())
	}

	slices.Sort(keys)
	if keys = slices.Compact(keys); len(keys) > shown {
		keys = append(keys[:shown:shown], fmt.Sprintf("%d more", len(keys)-shown))
	}

	note := unproven[0]
	note.Refusals = unproven
	note.Location, note.Principal, note.Resource, note.PolicyStatements = distribution.Location{}, "", "", nil
	note.Code = distribution.CodeKeyUseUnchecked
	note.Summary = "a dry run cannot show whether EC2 may use " + strings.Join(keys, ", ")
	note.Detail = "creating a grant directly is denied, by a policy that allows only AWS services to create " +
		"grants or because a permission is missing. " + unproven[0].Detail
	note.Remediation = "nothing, if the policies are those of the documentation: the test copies or the copies show it"
	return []distribution.Finding{note}
}

// mergeDenials merges the warnings about keys that a statement denies to a caller. One statement usually covers all
// keys of a copy, so each key would add a warning for the same cause.
func mergeDenials(findings []distribution.Finding) []distribution.Finding {
	var merged []distribution.Finding
	for _, f := range findings {
		isSameDenial := func(o distribution.Finding) bool {
			return o.Location == f.Location && o.Principal == f.Principal && o.Code == f.Code && o.AWSMessage == f.AWSMessage
		}
		i := slices.IndexFunc(merged, func(o distribution.Finding) bool { return len(o.Refusals) > 0 && isSameDenial(o) })
		isDenial := f.Level == distribution.Warning && f.Reference == unprovenRule
		switch {
		case isDenial && i < 0:
			f.Refusals = []distribution.Finding{f}
			merged = append(merged, f)
		case isDenial:
			last := merged[i].Refusals[len(merged[i].Refusals)-1].Resource
			merged[i].Refusals = append(merged[i].Refusals, f)
			merged[i].Summary = strings.Replace(merged[i].Summary, last, last+" and "+f.Resource, 1)
		default:
			merged = append(merged, f)
		}
	}
	return merged
}

// tolerateRefusals turns refusals into warnings if the run can continue without their destinations.
func tolerateRefusals(p plan.Plan, findings []distribution.Finding, mayFail int) []distribution.Finding {
	isOptional := func(at distribution.Location) bool {
		return slices.ContainsFunc(p.Destinations, func(d plan.DestinationPlan) bool { return d.At == at && d.Optional })
	}
	refused, required := map[distribution.Location]bool{}, 0
	for _, f := range findings {
		if f.Level == distribution.Refused && !refused[f.Location] {
			refused[f.Location] = true
			if !isOptional(f.Location) {
				required++
			}
		}
	}

	isSource := func(at distribution.Location) bool {
		return !slices.ContainsFunc(p.Destinations, func(d plan.DestinationPlan) bool { return d.At == at })
	}
	for i, f := range findings {
		if f.Level == distribution.Refused && !isSource(f.Location) && len(refused) < len(p.Destinations) &&
			(isOptional(f.Location) || required <= mayFail) {
			findings[i].Level = distribution.Warning
		}
	}

	return findings
}

func listDryRuns(pool *awsclient.Pool, steps []step.Step) []step.DryRun {
	return step.ListDryRuns(steps, step.NewRun(nil, step.RunSettings{Clients: pool}))
}

// performedFinding returns the finding for a dry run that AWS performed. The likely cause is an endpoint or a proxy
// that drops DryRun. Without the finding, the created resource would be unknown to every run.
func performedFinding(d step.DryRun, created string) *distribution.Finding {
	operation, _, _ := strings.Cut(d.Action, " ")
	changed, next := "changed "+cmp.Or(d.Resource, "something"), "Undo this change ("+d.Step.String()+")"
	if created != "" {
		changed, next = "created "+created, "Delete "+created
	}
	return &distribution.Finding{
		Level:       distribution.Refused,
		Code:        distribution.CodeDryRunPerformed,
		Reference:   "6.1",
		Location:    d.Step.Meta().Location,
		Operation:   operation,
		Resource:    cmp.Or(created, d.Resource),
		Summary:     "AWS performed the dry run of " + operation,
		Detail:      "The response was a success and not DryRunOperation, so the call " + changed + ".",
		Remediation: next + ", and check that custom endpoints and proxies pass on DryRun.",
	}
}

// unusableKey are the error codes of a key that no permission makes usable.
var unusableKey = []string{
	"DisabledException",
	"KMSInvalidStateException",
	"NotFoundException",
	"InvalidArnException",
}

// dryRunFinding returns the finding for the response to a dry run. Nil if the call is allowed, or if the response is
// unrelated to permissions.
func dryRunFinding(
	ctx context.Context, pool *awsclient.Pool, p plan.Plan, d step.DryRun, err error,
) *distribution.Finding {
	isOnKey := strings.HasPrefix(d.Action, "kms:")
	isKeyUnusable := isOnKey && slices.Contains(unusableKey, awsclient.Code(err))
	if awsclient.WouldSucceed(err) || !awsclient.IsUnauthorized(err) && !isKeyUnusable {
		return nil
	}

	isForEC2 := isOnKey && !d.IsOwnCall
	operation, _, _ := strings.Cut(d.Action, " ")
	refusal := awsclient.Refused(operation, err)
	who, _ := pool.Identity(ctx, d.Step.Meta().Location) // usually cached. Without it the finding is less exact
	request := diagnose.Case{
		Refusal:       *refusal,
		Step:          d.Step,
		At:            d.Location,
		Principal:     who.ARN,
		Resource:      d.Resource,
		SourceAccount: sourceAccount(p),
		Dry:           true,
	}

	if isForEC2 {
		request.Step = nil // the step itself may succeed
	}

	f := diagnose.Explain(request)
	f.Location = d.Step.Meta().Location
	switch {
	case isForEC2 && !isKeyUnusable:
		request.At = d.Step.Meta().Location
		return keyUseFinding(ctx, pool, request, who, f)
	case strings.Contains(refusal.Message, step.StandInSnapshot), strings.Contains(refusal.Message, step.StandInImage):
		// the policy may have a condition on tags of the real resource
		f.Level, f.Summary = distribution.Warning, "a dry run cannot show this before the resource exists: "+f.Summary
	default:
		f.Level = distribution.Refused
	}

	return &f
}

// unprovenRule is the rule that a dry run cannot show whether EC2 may use a key.
const unprovenRule = "6.8"

// IsKeyDenied reports whether a finding is the explicit deny of a dry run on a key that EC2 uses for a step.
func IsKeyDenied(f distribution.Finding) bool {
	return f.Level == distribution.Warning && f.Reference == unprovenRule
}

// keyUseFinding returns the finding for a key that EC2 uses for a step, and that the caller may not use directly. EC2's
// own call may be allowed because of the conditions kms:ViaService and kms:GrantIsForAWSResource (rules 3.2.3 and
// 3.2.4). Nil if the key policy allows only EC2, as intended.
func keyUseFinding(
	ctx context.Context,
	pool *awsclient.Pool,
	denied diagnose.Case,
	who distribution.CallerIdentity,
	f distribution.Finding,
) *distribution.Finding {
	message := denied.Refusal.Message
	isExplicit := strings.Contains(message, "explicit deny")
	isOfKeyPolicy := strings.Contains(message, "resource-based policy")
	f.Level, f.Reference = distribution.Note, unprovenRule
	if isExplicit {
		f.Level = distribution.Warning
	}

	isAllowed, isKnown := isAllowedByKeyPolicy(ctx, pool, denied.Resource, who)
	switch isDeniedByKey := isExplicit && isOfKeyPolicy; {
	case isKnown && !isAllowed && isDeniedByKey:
		f.Level = distribution.Refused
	case isKnown && !isAllowed:
		f = diagnose.ExplainKeyPolicy(denied)
	case isKnown && !isExplicit && isOfKeyPolicy:
		return nil
	case isExplicit:
		f.Summary = "explicit deny for " + denied.Resource + ": " + f.Summary
		f.Detail = diagnose.Sentence(f.Detail) + " " + explicitDenyOfKey
	default:
		f.Summary = "a dry run cannot show whether EC2 may use " + denied.Resource + ": " + f.Summary
	}

	return &f
}

// explicitDenyOfKey says what an explicit deny of the direct call means for EC2's own call. The deny may have a
// condition on kms:ViaService or kms:GrantIsForAWSResource, so it is no proof (rule 6.8).
const explicitDenyOfKey = "EC2 is denied as well, unless a condition of the deny excludes calls of AWS services."

// isAllowedByKeyPolicy evaluates the policy of a key of the source account. Only the source credentials can read
// it (rule 3.2.2). isKnown is false if that was impossible.
func isAllowedByKeyPolicy(
	ctx context.Context,
	pool *awsclient.Pool,
	keyARN string,
	who distribution.CallerIdentity,
) (isAllowed, isKnown bool) {
	source, err := pool.Source(ctx)
	parsed, malformed := arn.Parse(keyARN)
	if err != nil || malformed != nil || parsed.AccountID != source.Account {
		return false, false
	}
	out, err := pool.KMS(distribution.Location{Account: source.Account, Region: parsed.Region}).
		GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: aws.String(keyARN), PolicyName: aws.String("default")})
	if err != nil {
		return false, false
	}
	isAllowed, err = plan.KeyPolicyAllows(aws.ToString(out.Policy), keyARN, who)
	return isAllowed, err == nil
}
