// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"reflect"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// DryRun is a call that AWS checks and does not execute (rules 6.1 to 6.8). It checks permissions and the state of a
// key.
type DryRun struct {
	Step      Step
	Location  distribution.Location // where the call is made
	Action    string                // "ec2:CopySnapshot", followed by a space and a resource if each resource counts
	Resource  string                // AWS ID, ARN or name for the finding. Empty if it does not exist yet
	IsOwnCall bool                  // the step itself calls KMS, and not EC2 on its behalf
	// Call makes the call. A success means that AWS performed it. Then created is the ID of the new resource, or empty.
	Call func(context.Context) (created string, err error)

	key string // ARN of the key that EC2 uses for the step. Empty for other calls
}

// ListDryRuns returns the dry runs of all steps, each action once for an account and Region.
func ListDryRuns(steps []Step, run *Run) []DryRun {
	type key struct {
		at     distribution.Location
		action string
	}
	var all []DryRun
	isListed, granted := map[key]bool{}, temporarilyGranted(steps)

	for _, s := range steps {
		if s.Meta().ResumeID != "" {
			continue // an earlier run has made the call
		}
		for _, d := range dryRuns(s, Env{Run: run}) {
			isGranted := granted[d.key] && accountOf(d.key) != s.Meta().Location.Account
			if k := (key{d.Location, d.Action}); !isGranted && !isListed[k] {
				all, isListed[k] = append(all, d), true
			}
		}
	}

	return all
}

// temporarilyGranted returns the keys for which the steps themselves create a temporary grant.
func temporarilyGranted(steps []Step) map[string]bool {
	granted := map[string]bool{}
	for _, s := range steps {
		if g, ok := s.(*CreateGrant); ok && !g.Lasting {
			granted[g.KeyARN] = true
		}
	}
	return granted
}

// dryRuns returns the dry runs of a step. Nil for a kind of step whose calls have none.
func dryRuns(s Step, env Env) []DryRun {
	if list := operations[reflect.TypeOf(s)].dryRuns; list != nil {
		return list(s, env)
	}
	return nil
}

// newDryRun returns the dry run of a call. The input must have DryRun set.
func newDryRun[In, Out, Options any](
	s Step, action string, call func(context.Context, In, ...func(*Options)) (Out, error), in In,
) DryRun {
	return DryRun{
		Step:     s,
		Location: s.Meta().Location,
		Action:   action,
		Resource: s.ResourceID(),
		Call: func(ctx context.Context) (string, error) {
			out, err := call(ctx, in)
			if err != nil {
				return "", err
			}
			return awsclient.CreatedID(out), nil
		},
	}
}

// keyUseDryRuns check whether the step's credentials may create a grant on keys. EC2 creates grants with these
// credentials (rules 3.1.4 and 6.8).
func keyUseDryRuns(s Step, env Env, keyARNs ...string) []DryRun {
	var all []DryRun
	for _, key := range keyARNs {
		if key != "" {
			all = append(all, keyUseDryRun(s, env, key))
		}
	}
	return all
}

func keyUseDryRun(s Step, env Env, key string) DryRun {
	at := s.Meta().Location
	if parsed, err := arn.Parse(key); err == nil {
		at.Region = parsed.Region
	}

	return DryRun{
		Step:     s,
		Location: at,
		Action:   "kms:CreateGrant " + key,
		Resource: key,
		key:      key,
		Call: func(ctx context.Context) (string, error) {
			who, err := env.Clients.Identity(ctx, s.Meta().Location)
			if err != nil {
				return "", err
			}
			out, err := env.Clients.KMS(at).CreateGrant(ctx, &kms.CreateGrantInput{
				DryRun:           aws.Bool(true),
				KeyId:            aws.String(key),
				GranteePrincipal: aws.String(who.ARN),
				Operations:       []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
			})
			if err != nil {
				return "", err
			}
			return awsclient.CreatedID(out), nil
		},
	}
}

// StandInImage and StandInSnapshot are the IDs in dry runs about a resource that does not exist yet. A dry run does
// not look the ID up (rule 6.3), but EC2 refuses a malformed one (rule 2.5.10). It knows these IDs as well-formed,
// unlike snap-0123456789abcdef0.
const (
	StandInImage    = "ami-0fedcba9876543210"
	StandInSnapshot = "snap-0fedcba9876543210"
)

// knownOr returns the ID of a reference, or standIn if it is unknown.
func knownOr(r Ref, standIn string) string {
	kind, _, _ := strings.Cut(standIn, "-")
	if strings.HasPrefix(r.Known, kind+"-") && r.Known != distribution.Unbuilt {
		return r.Known
	}
	return standIn
}

// imageOrStandIn returns the ID of an existing image, or StandInImage.
func imageOrStandIn(ref Ref) string { return knownOr(ref, StandInImage) }

func isImageID(id string) bool {
	return len(id) > len("ami-") && strings.HasPrefix(id, "ami-") && id != distribution.Unbuilt
}
