// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// ShareImage adds launch permissions to an image (rules 2.2.1 and 2.2.4). They also allow a copy if the snapshots
// are shared (rule 2.2.8). UnshareImage reverts it.
type ShareImage struct {
	Base
	Image    Ref
	With     distribution.LaunchPermissions
	Baseline bool // save the existing permissions of a source image in its tags first
	Lasting  bool // requested by share blocks, so it stays

	// PermanentOn is the source image whose tags name the accounts that keep the permission. Empty for a temporary
	// permission.
	PermanentOn string

	Batch Batch
}

// Batch is the number of a batch of accounts. An image is shared with one batch after the other if AWS does not allow
// permissions for all accounts at once. Zero if there is only one batch.
type Batch struct{ Number, Of int }

// IsFirst reports whether no other batch comes before.
func (b Batch) IsFirst() bool { return b.Number <= 1 }

func (b Batch) String() string {
	if b.Of == 0 {
		return ""
	}
	return fmt.Sprintf(" (batch %d of %d)", b.Number, b.Of)
}

// maxNamed is how many accounts the line of a step names. More are counted.
const maxNamed = 20

// accountList returns the accounts as text, or their number if there are many.
func accountList(accounts []string) string {
	if len(accounts) > maxNamed {
		return distribution.Count(len(accounts), "account", "accounts")
	}
	return strings.Join(accounts, ", ")
}

func (s *ShareImage) Permissions() []Permission {
	permissions := []Permission{
		{"ec2:ModifyImageAttribute", s.Location.ImageARN(s.Image.Known), "2.2.4"},
		{"ec2:DescribeImageAttribute", s.Location.ImageARN(s.Image.Known), "4.4.2"},
	}
	if s.PermanentOn != "" {
		permissions = append(permissions, Permission{"ec2:CreateTags", s.Location.ImageARN(s.PermanentOn), "2.2.4"})
	}
	if s.Baseline {
		permissions = append(permissions, Permission{"ec2:CreateTags", s.Location.ImageARN(s.Image.Known), "2.2.4"})
	}
	return permissions
}

func (s *ShareImage) ResourceID() string { return s.Image.Known }

func (s *ShareImage) String() string {
	image := s.Image.stagedImage()
	if s.Destination != (distribution.Location{}) {
		image = cmp.Or(s.Image.Known, "the new image")
	}
	with := strings.Join(slices.Concat([]string{accountList(s.With.Accounts)}, s.With.Organizations, s.With.Units), ", ")
	return fmt.Sprintf("let %s launch %s in %s%s", strings.TrimPrefix(with, ", "), image, s.Location.Region, s.Batch)
}

func (s *ShareImage) Doing(w Words) string {
	return fmt.Sprintf("Sharing %s with %s", w.Image(s.Image), w.Audience(s.With, s.Location.Region))
}

func (s *ShareImage) Summary() Summary {
	with := slices.Concat(s.With.Accounts, s.With.Organizations, s.With.Units)
	return Summary{Phrase: Phrase{Text: "share the AMI"}, Accounts: with, IsShare: true}
}

// Role is CompletesImage for the launch permissions of a copy.
func (s *ShareImage) Role() Role {
	if s.Destination != (distribution.Location{}) {
		return CompletesImage
	}
	return Prepares
}

func (s *ShareImage) Audience() []string {
	return slices.Concat(s.With.Accounts, s.With.Organizations, s.With.Units)
}

func (s *ShareImage) PolicyCondition(action string) (distribution.Condition, bool) {
	return shareCondition(action, s.With.Accounts)
}

func (s *ShareImage) Result(o Outcome) Result {
	if s.Baseline && !s.Lasting && s.PermanentOn == "" {
		return temporaryShare(s.Location, s.Image.Known, s.With.Accounts, o.Err)
	}
	if !s.Lasting || o.Err != nil {
		return Result{}
	}
	return Result{Share: &distribution.Shared{At: s.Location, ImageID: o.ID, With: s.With}}
}

var _ = register(&ShareImage{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*ShareImage).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*ShareImage).dryRuns(env) },
})

func (s *ShareImage) start(env Env) Attempt { return newAttempt(s, env, env.shareImage) }

func (s *ShareImage) dryRuns(env Env) []DryRun {
	in := &ec2.ModifyImageAttributeInput{
		DryRun:           aws.Bool(true),
		ImageId:          aws.String(imageOrStandIn(s.Image)),
		LaunchPermission: &ec2types.LaunchPermissionModifications{Add: launchPermissions(s.With)},
	}
	return []DryRun{newDryRun(s, "ec2:ModifyImageAttribute", env.Clients.EC2(s.Location).ModifyImageAttribute, in)}
}

// UnshareImage removes launch permissions of a staged image that no copy needs.
type UnshareImage struct {
	Base
	Image    Ref
	Accounts []string // sorted
	Batch    Batch
}

func (s *UnshareImage) Permissions() []Permission {
	return []Permission{
		{"ec2:ModifyImageAttribute", s.Location.ImageARN(s.Image.Known), "2.2.4"},
		{"ec2:DescribeImageAttribute", s.Location.ImageARN(s.Image.Known), "4.4.2"},
	}
}

func (s *UnshareImage) ResourceID() string { return s.Image.Known }

func (s *UnshareImage) String() string {
	return fmt.Sprintf(
		"withdraw %s in %s from %s%s", s.Image.stagedImage(), s.Location.Region, accountList(s.Accounts), s.Batch)
}

func (s *UnshareImage) Doing(w Words) string {
	return fmt.Sprintf("Unsharing %s from %s", w.Image(s.Image), w.Accounts(s.Accounts, s.Location.Region))
}

func (s *UnshareImage) Summary() Summary {
	return Summary{
		Phrase:   Phrase{Text: "unshare %s", Singular: "AMI"},
		Cleanup:  Phrase{Text: "Unsharing %s", Singular: "AMI"},
		Accounts: s.Accounts,
	}
}

func (s *UnshareImage) PolicyCondition(action string) (distribution.Condition, bool) {
	return unshareCondition(action)
}

var _ = register(&UnshareImage{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*UnshareImage).start(env) },
})

func (s *UnshareImage) start(env Env) Attempt { return newAttempt(s, env, env.unshareImage) }

// shareImage adds launch permissions to an image and reads them back. Existing permissions stay.
func (r *Run) shareImage(ctx context.Context, a *attempt, s *ShareImage) (Outcome, error) {
	if err := guardLaunchPermissions(s.With); err != nil {
		return Outcome{}, err
	}

	id := a.id(s.Image)
	if !a.changed {
		if err := r.writeImageSharingTags(ctx, s, id); err != nil {
			return Outcome{}, err
		}

		err := r.modifyLaunchPermissions(
			ctx,
			s.Location,
			id,
			&ec2types.LaunchPermissionModifications{Add: launchPermissions(s.With)},
		)

		if awsclient.IsNotFound(err) && a.keepPolling() { // eventual consistency (rule 4.4.1)
			return Outcome{}, RetryAfter{Backoff(a.polls)}
		}

		if err != nil {
			return Outcome{ID: id}, err
		}

		a.changed = true
	}

	permissions, err := r.describeLaunchPermissions(ctx, s.Location, id)
	missing := s.With.Without(permissions)
	switch {
	case err != nil || missing.IsEmpty():
		return Outcome{ID: id}, err
	case a.keepPolling(): // eventual consistency (rule 4.4.2)
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	}

	return Outcome{ID: id}, fmt.Errorf("AWS does not show that %s may launch %s", missing, id)
}

// writeImageSharingTags writes the tags that must exist before an image is shared.
func (r *Run) writeImageSharingTags(ctx context.Context, s *ShareImage, id string) error {
	if s.PermanentOn != "" {
		if err := r.writePermanentTags(ctx, s.Location, s.PermanentOn, s.With.Accounts); err != nil {
			return err
		}
	}

	if !s.Baseline {
		return nil
	}

	permissions, err := r.describeLaunchPermissions(ctx, s.Location, id)
	if err != nil {
		return err
	}

	image, err := DescribeImage(ctx, r.Clients.EC2(s.Location), id)
	if err != nil || image == nil {
		return cmp.Or(err, fmt.Errorf("AWS does not show %s", id))
	}

	sharing := newSharing(s.With.Accounts, permissions.Accounts, s.PermanentOn)
	return r.writeBaseline(ctx, s.Location, id, sharing, tagsOf(image.Tags))
}

// unshareImage removes the launch permissions of a staged image and reads them back. It does not affect a copy in
// progress.
func (r *Run) unshareImage(ctx context.Context, a *attempt, s *UnshareImage) (Outcome, error) {
	id := a.id(s.Image)
	removed := distribution.LaunchPermissions{Accounts: s.Accounts}
	retained := func(why string) []distribution.RetainedResource {
		return []distribution.RetainedResource{{At: s.Location, Kind: "share", Resource: id, Why: why}}
	}
	if err := guardLaunchPermissions(removed); err != nil {
		return Outcome{}, err
	}

	err := r.modifyLaunchPermissions(
		ctx,
		s.Location,
		id,
		&ec2types.LaunchPermissionModifications{Remove: launchPermissions(removed)},
	)

	switch {
	case awsclient.IsNotFound(err):
		return Outcome{ID: id}, nil
	case err != nil:
		return Outcome{ID: id, Retained: retained(Reason(err))}, err
	}

	permissions, err := r.describeLaunchPermissions(ctx, s.Location, id)
	remaining := removed.Without(removed.Without(permissions))
	switch {
	case awsclient.IsNotFound(err):
		return Outcome{ID: id}, nil
	case err != nil:
		return Outcome{ID: id, Retained: retained("withdrawn, but it could not be read back: " + Reason(err))}, err
	case !remaining.IsEmpty() && a.keepPolling(): // eventual consistency (rule 4.4.2)
		return Outcome{}, RetryAfter{Backoff(a.polls)}
	case !remaining.IsEmpty():
		return Outcome{
			ID:       id,
			Retained: retained("withdrawn, and still shown for " + strings.Join(remaining.Accounts, ", ")),
		}, nil
	}

	return Outcome{ID: id}, nil
}

// describeLaunchPermissions returns the launch permissions of an account's own image.
func (r *Run) describeLaunchPermissions(
	ctx context.Context,
	at distribution.Location,
	id string,
) (distribution.LaunchPermissions, error) {
	in := &ec2.DescribeImageAttributeInput{
		ImageId:   aws.String(id),
		Attribute: ec2types.ImageAttributeNameLaunchPermission,
	}
	out, err := r.Clients.EC2(at).DescribeImageAttribute(ctx, in)
	if err != nil {
		return distribution.LaunchPermissions{}, err
	}
	return distribution.NewLaunchPermissions(out.LaunchPermissions), nil
}

// modifyLaunchPermissions changes one attribute with one operation, because AWS takes at most one in a call (rule
// 2.2.10).
func (r *Run) modifyLaunchPermissions(
	ctx context.Context,
	at distribution.Location,
	id string,
	change *ec2types.LaunchPermissionModifications,
) error {
	_, err := r.Clients.EC2(at).
		ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: aws.String(id), LaunchPermission: change})
	return err
}

func launchPermissions(a distribution.LaunchPermissions) []ec2types.LaunchPermission {
	var list []ec2types.LaunchPermission
	for _, account := range a.Accounts {
		list = append(list, ec2types.LaunchPermission{UserId: aws.String(account)})
	}
	for _, arn := range a.Organizations {
		list = append(list, ec2types.LaunchPermission{OrganizationArn: aws.String(arn)})
	}
	for _, arn := range a.Units {
		list = append(list, ec2types.LaunchPermission{OrganizationalUnitArn: aws.String(arn)})
	}
	return list
}
