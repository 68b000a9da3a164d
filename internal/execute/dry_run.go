// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
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

// dryRun is a call with DryRun set. It checks permissions and the state of a key without a change (rules 6.1 to
// 6.8).
type dryRun struct {
	step      step.Step
	location  distribution.Location // where the call is made
	action    string                // IAM action, with a resource if it matters. Checked once per location
	resource  string
	isOwnCall bool // the step itself calls KMS, and not EC2 on its behalf
	call      func(context.Context) error
}

// CountDryRuns returns how many dry runs DryRun makes for a plan.
func CountDryRuns(pool *awsclient.Pool, p plan.Plan) int {
	return len((&executor{pool: pool}).listDryRuns(p.Steps))
}

// DryRun makes the calls of a plan as dry runs, each once for an account and Region. It returns those that AWS
// would refuse. A dry run checks permissions only. It cannot check snapshots, or conditions on resources that do
// not exist yet. A refusal is a warning at an optional destination, and at up to mayFail others.
func DryRun(ctx context.Context, pool *awsclient.Pool, p plan.Plan, mayFail int) []distribution.Finding {
	t := &executor{pool: pool}
	dryRuns := t.listDryRuns(p.Steps)
	found := make([]*distribution.Finding, len(dryRuns))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	group.SetLimit(maxDryRuns)
	for i, d := range dryRuns {
		group.Go(func() error {
			return recovery.Do(func() error {
				if ctx.Err() != nil {
					return nil
				}
				err := d.call(ctx)
				if err == nil { // AWS ignored DryRun, so no further call is safe
					stop()
					found[i] = d.performedFinding()
					return nil
				}
				found[i] = d.finding(ctx, pool, p, err)
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

	return append(tolerateRefusals(p, findings, mayFail), mergeUnproven(unproven)...)
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
	note.Summary = "a dry run cannot show whether EC2 may use " + strings.Join(keys, ", ")
	note.Detail = "creating a grant directly is denied, by a policy that allows only AWS services to create " +
		"grants or because a permission is missing. " + unproven[0].Detail
	note.Remediation = "nothing, if the policies are those of the documentation: the test copies or the copies show it"
	return []distribution.Finding{note}
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

// listDryRuns returns the dry runs of all steps, each once for an account and Region.
func (t *executor) listDryRuns(steps []step.Step) []dryRun {
	granted := map[string]bool{} // keys for which the plan itself creates a grant
	for _, s := range steps {
		if g, is := s.(*step.CreateGrant); is && !g.Lasting {
			granted[g.KeyARN] = true
		}
	}

	type key struct {
		at    distribution.Location
		about string
	}
	var all []dryRun
	isListed := map[key]bool{}
	add := func(more ...dryRun) {
		for _, d := range more {
			if k := (key{d.location, d.action}); !isListed[k] {
				all, isListed[k] = append(all, d), true
			}
		}
	}

	addKeys := func(s step.Step, arns ...string) {
		for _, key := range arns {
			isGranted := granted[key] && accountOf(key) != s.Meta().Location.Account
			if key != "" && !isGranted {
				add(t.dryRunKeyUse(s, key))
			}
		}
	}

	for _, s := range steps {
		if s.Meta().ResumeID != "" {
			continue // an earlier run has made the call
		}
		switch s := s.(type) {
		case *step.CopySnapshot:
			add(t.dryRunCopySnapshot(s))
			addKeys(s, s.KeyARN, s.FromKeyARN)
		case *step.CopyImage:
			add(t.dryRunCopyImage(s))
			addKeys(s, append([]string{s.KeyARN}, s.FromKeyARNs...)...)
		case *step.CreateGrant:
			add(t.dryRunCreateGrant(s))
		case *step.ShareSnapshot:
			add(t.dryRunShareSnapshot(s))
		case *step.ShareImage:
			add(t.dryRunShareImage(s))
		case *step.DeregisterImage:
			if s.Name != "" {
				add(t.dryRunDeregisterImage(s)...)
			}
		case *step.RegisterImage:
			if d, err := t.dryRunRegisterImage(s); err == nil {
				add(d)
			}
		case *step.RunInstance:
			add(t.dryRunRunInstances(s))
		default:
			add(t.stepDryRuns(s)...)
		}
	}

	return all
}

// standInSnapshot is the ID in dry runs about a snapshot that does not exist yet. A dry run does not look the ID up
// (rule 6.3), but EC2 refuses a malformed one (rule 2.5.10). It knows this ID as well-formed, unlike
// snap-0123456789abcdef0.
const standInSnapshot = "snap-0fedcba9876543210"

// knownOr returns the ID of a reference, or standIn if it is unknown.
func knownOr(r step.Ref, standIn string) string {
	kind, _, _ := strings.Cut(standIn, "-")
	if strings.HasPrefix(r.Known, kind+"-") && r.Known != distribution.Unbuilt {
		return r.Known
	}
	return standIn
}

// newDryRun returns a dry run of a step. The input must have DryRun set.
func newDryRun[In, Out, Options any](
	call func(context.Context, In, ...func(*Options)) (Out, error),
	in In,
	s step.Step,
	about string,
) dryRun {
	return dryRun{
		step:     s,
		location: s.Meta().Location,
		action:   about,
		resource: s.ResourceID(),
		call: func(ctx context.Context) error {
			_, err := call(ctx, in)
			return err
		},
	}
}

func (t *executor) dryRunCopySnapshot(s *step.CopySnapshot) dryRun {
	in := &ec2.CopySnapshotInput{
		DryRun: aws.Bool(
			true,
		),
		SourceRegion:     aws.String(s.FromRegion),
		SourceSnapshotId: aws.String(knownOr(s.Source, standInSnapshot)),
		Description: aws.String(
			s.Signing.Token(string(s.ID)).Description(s.Description),
		),
		Encrypted:         aws.Bool(true),
		KmsKeyId:          aws.String(s.KeyARN),
		TagSpecifications: tagSpecifications(ec2types.ResourceTypeSnapshot, s.Tags),
	}
	return newDryRun(t.pool.EC2(s.Location).CopySnapshot, in, s, "ec2:CopySnapshot")
}

func (t *executor) dryRunShareSnapshot(s *step.ShareSnapshot) dryRun {
	in := &ec2.ModifySnapshotAttributeInput{
		DryRun:                 aws.Bool(true),
		SnapshotId:             aws.String(knownOr(s.Snapshot, standInSnapshot)),
		Attribute:              ec2types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: volumePermissions(s.Accounts)},
	}
	return newDryRun(t.pool.EC2(s.Location).ModifySnapshotAttribute, in, s, "ec2:ModifySnapshotAttribute")
}

// dryRunDeregisterImage checks an image that no run created, because the target's policy may allow only our own. It
// checks the snapshots too. Otherwise a refusal would show only after the image is gone (rule 9.11).
func (t *executor) dryRunDeregisterImage(s *step.DeregisterImage) []dryRun {
	client := t.pool.EC2(s.Location)
	in := &ec2.DeregisterImageInput{
		DryRun:                    aws.Bool(true),
		ImageId:                   aws.String(s.Image.Known),
		DeleteAssociatedSnapshots: aws.Bool(s.WithSnapshots),
	}

	all := []dryRun{newDryRun(client.DeregisterImage, in, s, "ec2:DeregisterImage")}
	for _, snapshot := range s.Snapshots {
		d := newDryRun(
			client.DeleteSnapshot,
			&ec2.DeleteSnapshotInput{DryRun: aws.Bool(true), SnapshotId: aws.String(snapshot)},
			s,
			"ec2:DeleteSnapshot "+snapshot,
		)
		d.resource = snapshot
		all = append(all, d)
	}

	return all
}

func (t *executor) dryRunRegisterImage(s *step.RegisterImage) (dryRun, error) {
	snapshots := map[string]string{}
	for device, r := range s.Snapshots {
		snapshots[device] = knownOr(r, standInSnapshot)
	}
	in, err := registerImageInput(s, snapshots)
	if err != nil {
		return dryRun{}, err
	}
	in.DryRun = aws.Bool(true)
	d := newDryRun(t.pool.EC2(s.Location).RegisterImage, in, s, "ec2:RegisterImage")
	d.resource = "" // it does not exist yet
	return d, nil
}

// dryRunKeyUse checks whether the step's credentials may create a grant on a key. EC2 creates grants with these
// credentials (rules 3.1.4 and 6.8).
func (t *executor) dryRunKeyUse(s step.Step, key string) dryRun {
	at := s.Meta().Location
	if parsed, err := arn.Parse(key); err == nil {
		at.Region = parsed.Region
	}

	return dryRun{
		step:     s,
		location: at,
		action:   "kms:CreateGrant " + key,
		resource: key,
		call: func(ctx context.Context) error {
			who, err := t.pool.Identity(ctx, s.Meta().Location)
			if err != nil {
				return err
			}
			_, err = t.pool.KMS(at).CreateGrant(ctx, &kms.CreateGrantInput{
				DryRun: aws.Bool(true), KeyId: aws.String(key), GranteePrincipal: aws.String(who.ARN),
				Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
			})
			return err
		},
	}
}

// performedFinding returns the finding for a dry run that AWS performed. An endpoint or a proxy that drops DryRun
// is the likely cause. Without the finding resources would stay that no run knows.
func (d dryRun) performedFinding() *distribution.Finding {
	operation, _, _ := strings.Cut(d.action, " ")
	return &distribution.Finding{
		Level:       distribution.Refused,
		Code:        distribution.CodeDryRunPerformed,
		Reference:   "6.1",
		Location:    d.step.Meta().Location,
		Operation:   operation,
		Resource:    d.resource,
		Summary:     "AWS performed the dry run of " + operation,
		Detail:      "The response was a success and not DryRunOperation, so the call changed something.",
		Remediation: "Delete what the call created, and check that custom endpoints and proxies pass on DryRun.",
	}
}

// finding returns the finding for the response to a dry run. Nil if the call is allowed, or if the response is
// unrelated to permissions.
func (d dryRun) finding(ctx context.Context, pool *awsclient.Pool, p plan.Plan, err error) *distribution.Finding {
	onKey := strings.HasPrefix(d.action, "kms:")
	isKeyUnusable := onKey &&
		slices.Contains(
			[]string{"DisabledException", "KMSInvalidStateException", "NotFoundException", "InvalidArnException"},
			awsclient.Code(err),
		)

	if awsclient.WouldSucceed(err) || !awsclient.IsUnauthorized(err) && !isKeyUnusable {
		return nil
	}

	onKey = onKey && !d.isOwnCall
	operation, _, _ := strings.Cut(d.action, " ")
	refusal := awsclient.Refused(operation, err)
	who, _ := pool.Identity(ctx, d.step.Meta().Location) // usually cached. Without it the finding is less exact
	request := diagnose.Case{
		Refusal:       *refusal,
		Step:          d.step,
		At:            d.location,
		Principal:     who.ARN,
		Resource:      d.resource,
		SourceAccount: sourceAccount(p.Steps),
		Dry:           true,
	}

	if onKey {
		request.Step = nil // the step itself may succeed
	}

	e := diagnose.Explain(request)
	e.Location = d.step.Meta().Location
	switch isExplicit := strings.Contains(refusal.Message, "explicit deny"); {
	case onKey && !isKeyUnusable:
		// EC2's own call may pass, because of the conditions kms:ViaService and kms:GrantIsForAWSResource (rules
		// 3.2.3 and 3.2.4)
		e.Level, e.Reference = distribution.Note, "6.8"
		if isExplicit {
			e.Level = distribution.Warning
		}
		switch isAllowed, isKnown := d.isAllowedByKeyPolicy(ctx, pool, who); {
		case isKnown && !isAllowed:
			e.Level, e.Reference = distribution.Refused, "3.2.1"
			e.Summary = "the policy of the key " + d.resource + " does not allow " + who.ARN
		case isKnown && !isExplicit && strings.Contains(refusal.Message, "resource-based policy"):
			return nil // the key policy allows only EC2, as it should
		default:
			e.Summary = "a dry run cannot show whether EC2 may use " + d.resource + ": " + e.Summary
		}
	case strings.Contains(refusal.Message, standInSnapshot), strings.Contains(refusal.Message, step.StandInImage):
		// the policy may have a condition on tags of the real resource
		e.Level, e.Summary = distribution.Warning, "a dry run cannot show this before the resource exists: "+e.Summary
	default:
		e.Level = distribution.Refused
	}

	return &e
}

// isAllowedByKeyPolicy evaluates the policy of a key of the source account. Only the source credentials can read
// it (rule 3.2.2). isKnown is false if that was impossible.
func (d dryRun) isAllowedByKeyPolicy(
	ctx context.Context,
	pool *awsclient.Pool,
	who distribution.CallerIdentity,
) (isAllowed, isKnown bool) {
	source, err := pool.Source(ctx)
	parsed, malformed := arn.Parse(d.resource)
	if err != nil || malformed != nil || parsed.AccountID != source.Account {
		return false, false
	}
	out, err := pool.KMS(distribution.Location{Account: source.Account, Region: parsed.Region}).
		GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: aws.String(d.resource), PolicyName: aws.String("default")})
	if err != nil {
		return false, false
	}
	isAllowed, err = plan.KeyPolicyAllows(aws.ToString(out.Policy), d.resource, who)
	return isAllowed, err == nil
}
