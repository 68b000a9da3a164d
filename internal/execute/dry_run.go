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

// provedAtOnce is how many dry runs are under way side by side.
const maxDryRuns = 10

// proof is a dry run of a step's call: what AWS says of the rights, and of a key's state, without doing anything (rules 6.1 to 6.8).
type dryRun struct {
	step      step.Step
	location  distribution.Location // of the call
	action    string                // what has to be let through: each is asked for once at a place
	resource  string
	isOwnCall bool // of a key: the step makes this very call, and not EC2 one in its name
	call      func(context.Context) error
}

// CountDryRuns returns how many dry runs Prove makes for a plan.
func CountDryRuns(pool *awsclient.Pool, p plan.Plan) int {
	return len((&executor{pool: pool}).listDryRuns(p.Steps))
}

// Prove makes the calls of a plan's steps as dry runs, each once at every place, and tells which would be refused. What a dry run lets
// through is proved as far as rights go: it looks at no snapshot and at no condition that only a later resource meets. A refusal at an
// optional destination, or at as many others as may fail, is a warning.
func DryRun(ctx context.Context, pool *awsclient.Pool, p plan.Plan, mayFail int) []distribution.Finding {
	t := &executor{pool: pool}
	proofs := t.listDryRuns(p.Steps)
	found := make([]*distribution.Finding, len(proofs))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	group.SetLimit(maxDryRuns)
	for i, f := range proofs {
		group.Go(func() error {
			return recovery.Do(func() error {
				if ctx.Err() != nil {
					return nil
				}
				err := f.call(ctx)
				if err == nil { // the dry run acted, so no further one is sent
					stop()
					found[i] = f.performedFinding()
					return nil
				}
				found[i] = f.finding(ctx, pool, p, err)
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil {
		return []distribution.Finding{{Level: distribution.Warning, Summary: "the permissions could not be checked", Detail: err.Error()}}
	}
	var findings, open []distribution.Finding
	for _, f := range found {
		switch {
		case f == nil:
		case f.Level == distribution.Note:
			open = append(open, *f)
		default:
			findings = append(findings, *f)
		}
	}
	return append(tolerateRefusals(p, findings, mayFail), mergeUnproven(open)...)
}

// unproved makes one note of all that could not be proved: policies that let AWS alone make grants, as they should, leave nothing to prove on
// any key of any account.
func mergeUnproven(open []distribution.Finding) []distribution.Finding {
	const shown = 5
	if len(open) == 0 {
		return nil
	}
	var keys []string
	for _, f := range open {
		keys = append(keys, f.Resource+" in "+f.Location.String())
	}
	slices.Sort(keys)
	if keys = slices.Compact(keys); len(keys) > shown {
		keys = append(keys[:shown:shown], fmt.Sprintf("%d more", len(keys)-shown))
	}
	note := open[0]
	note.Refusals = open
	note.Location, note.Principal, note.Resource, note.PolicyStatements = distribution.Location{}, "", "", nil
	note.Summary = "a dry run cannot show whether EC2 may use " + strings.Join(keys, ", ")
	note.Detail = "creating a grant directly is denied, by a policy that allows only AWS services to create grants or because a permission is missing. " + open[0].Detail
	note.Remediation = "nothing, if the policies are those of the documentation: the test copies or the copies show it"
	return []distribution.Finding{note}
}

// tolerated makes warnings of the refusals that a run goes on with.
func tolerateRefusals(p plan.Plan, findings []distribution.Finding, mayFail int) []distribution.Finding {
	optional := func(at distribution.Location) bool {
		return slices.ContainsFunc(p.Destinations, func(d plan.DestinationPlan) bool { return d.At == at && d.Optional })
	}
	refused, required := map[distribution.Location]bool{}, 0
	for _, f := range findings {
		if f.Level == distribution.Refused && !refused[f.Location] {
			refused[f.Location] = true
			if !optional(f.Location) {
				required++
			}
		}
	}
	source := func(at distribution.Location) bool {
		return !slices.ContainsFunc(p.Destinations, func(d plan.DestinationPlan) bool { return d.At == at })
	}
	for i, f := range findings {
		if f.Level == distribution.Refused && !source(f.Location) && len(refused) < len(p.Destinations) && (optional(f.Location) || required <= mayFail) {
			findings[i].Level = distribution.Warning
		}
	}
	return findings
}

// proofs are the dry runs of all steps, each once at a place.
func (t *executor) listDryRuns(steps []step.Step) []dryRun {
	granted := map[string]bool{} // keys that a step of the plan opens first
	for _, s := range steps {
		if g, is := s.(*step.CreateGrant); is && !g.Lasting {
			granted[g.KeyARN] = true
		}
	}
	type once struct {
		at    distribution.Location
		about string
	}
	var all []dryRun
	asked := map[once]bool{}
	add := func(more ...dryRun) {
		for _, f := range more {
			if o := (once{f.location, f.action}); !asked[o] {
				all, asked[o] = append(all, f), true
			}
		}
	}
	keys := func(s step.Step, arns ...string) {
		for _, key := range arns {
			opened := granted[key] && accountOf(key) != s.Meta().Location.Account
			if key != "" && !opened {
				add(t.dryRunKeyUse(s, key))
			}
		}
	}
	for _, s := range steps {
		if s.Meta().ResumeID != "" {
			continue // an earlier run made the call
		}
		switch s := s.(type) {
		case *step.CopySnapshot:
			add(t.dryRunCopySnapshot(s))
			keys(s, s.KeyARN, s.FromKeyARN)
		case *step.CopyImage:
			add(t.dryRunCopyImage(s))
			keys(s, append([]string{s.KeyARN}, s.FromKeyARNs...)...)
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
			if f, err := t.dryRunRegisterImage(s); err == nil {
				add(f)
			}
		case *step.RunInstance:
			add(t.dryRunRunInstances(s))
		default:
			add(t.stepDryRuns(s)...)
		}
	}
	return all
}

// standInSnapshot is the ID in dry runs about a snapshot that does not exist yet. A dry run does not look the ID up (rule
// 6.3), but EC2 refuses a malformed one (rule 2.5.10). It knows this ID as well-formed, unlike snap-0123456789abcdef0.
const standInSnapshot = "snap-0fedcba9876543210"

// existing is the id of a reference that is known, or one that stands in for it.
func knownOr(r step.Ref, standIn string) string {
	kind, _, _ := strings.Cut(standIn, "-")
	if strings.HasPrefix(r.Known, kind+"-") && r.Known != distribution.Unbuilt {
		return r.Known
	}
	return standIn
}

// proofBy is a step's proof by one of its calls, whose input asks for a dry run.
func newDryRun[In, Out, Options any](call func(context.Context, In, ...func(*Options)) (Out, error), in In, s step.Step, about string) dryRun {
	return dryRun{step: s, location: s.Meta().Location, action: about, resource: s.ResourceID(), call: func(ctx context.Context) error {
		_, err := call(ctx, in)
		return err
	}}
}

func (t *executor) dryRunCopySnapshot(s *step.CopySnapshot) dryRun {
	in := &ec2.CopySnapshotInput{DryRun: aws.Bool(true), SourceRegion: aws.String(s.FromRegion), SourceSnapshotId: aws.String(knownOr(s.Source, standInSnapshot)),
		Description: aws.String(s.Signing.Token(string(s.ID)).Description(s.Description)), Encrypted: aws.Bool(true), KmsKeyId: aws.String(s.KeyARN), TagSpecifications: tagSpecifications(ec2types.ResourceTypeSnapshot, s.Tags)}
	return newDryRun(t.pool.EC2(s.Location).CopySnapshot, in, s, "ec2:CopySnapshot")
}

func (t *executor) dryRunShareSnapshot(s *step.ShareSnapshot) dryRun {
	in := &ec2.ModifySnapshotAttributeInput{DryRun: aws.Bool(true), SnapshotId: aws.String(knownOr(s.Snapshot, standInSnapshot)),
		Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{Add: volumePermissions(s.Accounts)}}
	return newDryRun(t.pool.EC2(s.Location).ModifySnapshotAttribute, in, s, "ec2:ModifySnapshotAttribute")
}

// proveDeregistration asks for an image that is not ours: the target's policy may let only ours go.
// AWS tells of a snapshot that may not go along only when the image is gone (9.11).
func (t *executor) dryRunDeregisterImage(s *step.DeregisterImage) []dryRun {
	client := t.pool.EC2(s.Location)
	in := &ec2.DeregisterImageInput{DryRun: aws.Bool(true), ImageId: aws.String(s.Image.Known), DeleteAssociatedSnapshots: aws.Bool(s.WithSnapshots)}
	all := []dryRun{newDryRun(client.DeregisterImage, in, s, "ec2:DeregisterImage")}
	for _, snapshot := range s.Snapshots {
		f := newDryRun(client.DeleteSnapshot, &ec2.DeleteSnapshotInput{DryRun: aws.Bool(true), SnapshotId: aws.String(snapshot)}, s, "ec2:DeleteSnapshot "+snapshot)
		f.resource = snapshot
		all = append(all, f)
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
	f := newDryRun(t.pool.EC2(s.Location).RegisterImage, in, s, "ec2:RegisterImage")
	f.resource = "" // there is none yet
	return f, nil
}

// proveKey asks whether a step's own credentials may make a grant on a key, which is what EC2 does with them (3.1.4, 6.8).
func (t *executor) dryRunKeyUse(s step.Step, key string) dryRun {
	at := s.Meta().Location
	if parsed, err := arn.Parse(key); err == nil {
		at.Region = parsed.Region
	}
	return dryRun{step: s, location: at, action: "kms:CreateGrant " + key, resource: key, call: func(ctx context.Context) error {
		who, err := t.pool.Identity(ctx, s.Meta().Location)
		if err != nil {
			return err
		}
		_, err = t.pool.KMS(at).CreateGrant(ctx, &kms.CreateGrantInput{DryRun: aws.Bool(true), KeyId: aws.String(key), GranteePrincipal: aws.String(who.ARN),
			Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt}})
		return err
	}}
}

// performed returns the finding for a dry run that AWS performed. An endpoint or a proxy that drops DryRun is the likely
// cause. A run without the finding would leave resources behind that no run knows.
func (f dryRun) performedFinding() *distribution.Finding {
	operation, _, _ := strings.Cut(f.action, " ")
	return &distribution.Finding{
		Level:       distribution.Refused,
		Reference:   "6.1",
		Location:    f.step.Meta().Location,
		Operation:   operation,
		Resource:    f.resource,
		Summary:     "AWS performed the dry run of " + operation,
		Detail:      "The response was a success and not DryRunOperation, so the call changed something.",
		Remediation: "Delete what the call created, and check that custom endpoints and proxies pass on DryRun.",
	}
}

// judge makes a finding of the answer to a dry run; nil where it is let through, and where the answer says nothing of rights.
func (f dryRun) finding(ctx context.Context, pool *awsclient.Pool, p plan.Plan, err error) *distribution.Finding {
	onKey := strings.HasPrefix(f.action, "kms:")
	unusable := onKey && slices.Contains([]string{"DisabledException", "KMSInvalidStateException", "NotFoundException", "InvalidArnException"}, awsclient.Code(err))
	if awsclient.WouldSucceed(err) || !awsclient.IsUnauthorized(err) && !unusable {
		return nil
	}
	onKey = onKey && !f.isOwnCall
	operation, _, _ := strings.Cut(f.action, " ")
	refusal := awsclient.Refused(operation, err)
	who, _ := pool.Identity(ctx, f.step.Meta().Location) // asked for before; without it the finding is only less exact
	asked := diagnose.Case{Refusal: *refusal, Step: f.step, At: f.location, Principal: who.ARN, Resource: f.resource, SourceAccount: sourceAccount(p.Steps), Dry: true}
	if onKey {
		asked.Step = nil // the step itself may well succeed
	}
	e := diagnose.Explain(asked)
	e.Location = f.step.Meta().Location
	switch explicit := strings.Contains(refusal.Message, "explicit deny"); {
	case onKey && !unusable: // EC2's own call may pass where ours is refused: kms:ViaService, kms:GrantIsForAWSResource (3.2.3, 3.2.4)
		e.Level, e.Reference = distribution.Note, "6.8"
		if explicit {
			e.Level = distribution.Warning
		}
		switch admitted, told := f.isAdmittedByKeyPolicy(ctx, pool, who); {
		case told && !admitted:
			e.Level, e.Reference, e.Summary = distribution.Refused, "3.2.1", "the policy of the key "+f.resource+" does not admit "+who.ARN
		case told && !explicit && strings.Contains(refusal.Message, "resource-based policy"):
			return nil // by its policy EC2 may, and only it
		default:
			e.Summary = "a dry run cannot show whether EC2 may use " + f.resource + ": " + e.Summary
		}
	case strings.Contains(refusal.Message, standInSnapshot), strings.Contains(refusal.Message, step.StandInImage): // the policy may ask for what only the real snapshot has
		e.Level, e.Summary = distribution.Warning, "a dry run cannot show this before the resource exists: "+e.Summary
	default:
		e.Level = distribution.Refused
	}
	return &e
}

// admitted evaluates the policy of a key of the source account, which the source credentials alone can read (3.2.2). told: it could be.
func (f dryRun) isAdmittedByKeyPolicy(ctx context.Context, pool *awsclient.Pool, who distribution.CallerIdentity) (admitted, told bool) {
	source, err := pool.Source(ctx)
	parsed, malformed := arn.Parse(f.resource)
	if err != nil || malformed != nil || parsed.AccountID != source.Account {
		return false, false
	}
	out, err := pool.KMS(distribution.Location{Account: source.Account, Region: parsed.Region}).GetKeyPolicy(ctx, &kms.GetKeyPolicyInput{KeyId: aws.String(f.resource), PolicyName: aws.String("default")})
	if err != nil {
		return false, false
	}
	admitted, err = plan.KeyAdmits(aws.ToString(out.Policy), f.resource, who)
	return admitted, err == nil
}
