// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/runrecord"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// stores returns the stores of the records, one for each source image.
func (r *run) stores() []runrecord.Store {
	var stores []runrecord.Store
	for _, image := range r.images {
		stores = append(stores, r.tagStore(image))
	}
	return stores
}

func (r *run) tagStore(image distribution.SourceImage) runrecord.TagStore {
	at := distribution.Location{Account: r.account, Region: image.Region}
	return runrecord.TagStore{Client: r.pool.EC2(at), ImageID: image.ImageID}
}

// recordOptions returns the contents of this run's record.
func (r *run) recordOptions() runrecord.Options {
	var regions []string
	for _, image := range r.images {
		regions = append(regions, image.Region)
	}
	for _, target := range r.config.Targets {
		regions = append(regions, target.Regions...)
	}
	return runrecord.Options{
		Stores:     r.stores(),
		Resumes:    r.config.ResumedRun(),
		TakesOver:  r.takeover(),
		Regions:    distribution.Union(regions, nil),
		Scope:      r.scope,
		Protection: r.protection(),
		Report:     r.ui.Say,
	}
}

// takeover returns which ended runs this one replaces. A clean-up replaces only runs with the accounts that it
// searched. Another block of the build may have failed in other accounts, and its run may still be resumed.
func (r *run) takeover() runrecord.Takeover {
	switch {
	case !r.userSupplied, r.config.Mode == config.ModePromote, r.config.Mode == config.ModeRollback:
		return runrecord.TakesOverNone
	case r.config.Mode == config.ModeCleanup:
		return runrecord.TakesOverScope
	}
	return runrecord.TakesOverAll
}

// protection returns the relation of this run to the protection of the images. The run of a build needs the protection
// even if another user enabled it. No other run must disable it in the meantime.
func (r *run) protection() runrecord.Protection {
	switch {
	case len(protected(r.result.Source)) > 0:
		return runrecord.ProtectionHeld
	case r.protects():
		return runrecord.ProtectionNeeded
	}
	return runrecord.NoProtection
}

// scopeOf returns a digest of the accounts and keys of a request. A run with another digest may not find all resources
// that this run creates.
func scopeOf(request distribution.Request) string {
	used := []string{request.KMSKeyID, string(request.SourceKeyAccess)}
	for _, region := range slices.Sorted(maps.Keys(request.RegionKMSKeyIDs)) {
		used = append(used, region+" "+request.RegionKMSKeyIDs[region])
	}
	for _, target := range request.Targets {
		used = slices.Concat(used, target.AccountIDs, target.Units)
	}
	return runrecord.Scope(distribution.Union(used, nil))
}

// recordFindings returns notes about accounts and keys that only ended runs used, which this run has not searched. It
// also returns a note about a protection that no run holds, which this run does not change.
func (r *run) recordFindings(ctx context.Context, facts distribution.Facts) ([]distribution.Finding, error) {
	var notes []distribution.Finding
	for _, image := range r.images {
		source := facts.Images[image.Region]
		if source.Image == nil || !step.IsProtected(*source.Image) || !r.userSupplied || bearsProtection(source) {
			continue
		}
		notes = append(notes, distribution.Finding{
			Level:       distribution.Note,
			Code:        distribution.CodeProtectedByOthers,
			Location:    distribution.Location{Account: r.account, Region: image.Region},
			Resource:    image.ImageID,
			Summary:     image.ImageID + " is protected against deregistration, and no run of this plugin needs that",
			Detail:      "somebody else enabled the protection, or a run that was stopped before it could write its record",
			Remediation: "nothing, if you want the protection",
		})
	}

	records, err := r.record.Records(ctx)
	if err != nil {
		return notes, err
	}
	for _, other := range records.Over() {
		if other.Scope == r.scope {
			continue
		}
		notes = append(notes, distribution.Finding{
			Level:    distribution.Note,
			Code:     distribution.CodeRunWithOtherOptions,
			Resource: other.ID,
			Summary:  fmt.Sprintf("run %s used other accounts or keys", other.ID),
			Detail: "it has ended. What it left in " + strings.Join(other.Regions, ", ") + ", in accounts that this run does " +
				"not use, is not listed",
			Remediation: "run packer build -var mode=cleanup with the resume file of that run",
		})
	}
	return notes, nil
}

// records reads the records of runs on the source images of this run, and on others.
func (r *run) records(ctx context.Context, others ...provenance.SourceImage) (distribution.Runs, error) {
	var stores []runrecord.Store
	for _, other := range others {
		isUsed := func(image distribution.SourceImage) bool { return image.ImageID == other.ImageID }
		if slices.ContainsFunc(r.images, isUsed) {
			continue
		}
		stores = append(stores, r.tagStore(distribution.SourceImage{Region: other.Region, ImageID: other.ImageID}))
	}
	records, err := r.record.Records(ctx, stores...)
	if awsclient.HasEnded(err) {
		err = credentialsEnded(err)
	}
	return records, err
}

// begin writes the record of this run and waits for others. The returned context ends if the record lapses.
func (r *run) begin(ctx context.Context) (context.Context, error) {
	for _, image := range r.images {
		tags, err := r.tagStore(image).Tags(ctx)
		if err == nil {
			err = runrecord.CheckFreeTags(tags)
		}
		if awsclient.HasEnded(err) {
			return ctx, credentialsEnded(err)
		}
		if err != nil {
			return ctx, fmt.Errorf("nothing was created: %s in %s: %w", image.ImageID, image.Region, err)
		}
	}
	running, err := r.record.Begin(ctx, r.recordOptions())
	r.begun = r.record.IsRecorded()
	switch {
	case err == nil, context.Cause(ctx) != nil:
	case awsclient.HasEnded(err):
		err = credentialsEnded(err)
	case awsclient.IsUnauthorized(err):
		err = fmt.Errorf("nothing was created: a run records itself in a tag of the source image; allow ec2:CreateTags on "+
			"it: %w", err)
	default:
		err = fmt.Errorf("nothing was created: %w", err)
	}
	return running, err
}

func credentialsEnded(err error) error {
	return fmt.Errorf("nothing was created: the source credentials have ended: %w", err)
}

// end records that the run has ended. If no other run is active, it removes the permissions that runs added for their
// copies, and returns those that it could not remove. It does nothing the second time, and nothing for a run without a
// record. shared has the permissions that this run added.
func (r *run) end(
	ctx context.Context, failed bool, shared []distribution.TemporaryShare,
) []distribution.RetainedResource {
	holds := failed && !r.userSupplied && len(protected(r.result.Source)) > 0
	if r.ended || !r.begun && !holds {
		return nil
	}
	r.ended = true

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit(ctx))
	defer cancel()

	var records runrecord.Records
	err := recovery.Do(func() (err error) {
		records, err = r.record.End(ctx, failed)
		return err
	})
	r.held = err != nil || records.OtherHoldsProtection()
	if err == nil && !failed && records.AnyHoldsProtection() {
		r.inheritProtection()
	}
	r.others = err != nil || len(records.Working()) > 0

	switch {
	case err != nil:
		r.ui.Error("The end of the run could not be recorded. Other runs wait until its record lapses: " + err.Error())
	case r.others:
		for _, other := range records.Working() {
			r.ui.Say("Run " + other.ID + " works on the same image. What is shared until copies are made stays, and that " +
				"run withdraws it.")
		}
	case r.begun:
		return r.withdrawShares(ctx, shared)
	}
	return nil
}

// inheritProtection marks the source images as protected, because an ended run left its protection to this one. Images
// of existing_amis are never protected.
func (r *run) inheritProtection() {
	if r.userSupplied {
		return
	}
	for i := range r.result.Source {
		r.result.Source[i].Protected = true
	}
}

// endLimit returns the time limit for the end of a run. It is short for a canceled run, because the user waits for it.
func endLimit(ctx context.Context) time.Duration {
	if ctx.Err() != nil && !isTimeout(ctx) {
		return canceledEndTime
	}
	return endTime
}

// withdrawShares withdraws what runs shared until their copies were complete. It returns what is still shared.
func (r *run) withdrawShares(
	ctx context.Context, shared []distribution.TemporaryShare,
) (left []distribution.RetainedResource) {
	err := recovery.Do(func() error {
		left = step.WithdrawShares(ctx, r.pool, r.account, r.images, r.keys, r.isLast, shared)
		return nil
	})
	if err != nil {
		at := distribution.Location{Account: r.account, Region: r.images[0].Region}
		left = append(
			left,
			distribution.RetainedResource{At: at, Kind: "share", Resource: r.images[0].ImageID, Why: err.Error()},
		)
	}
	return left
}

// isLast reports whether no other run that uses the images is active.
func (r *run) isLast(ctx context.Context) (bool, error) {
	records, err := r.record.Records(ctx)
	return err == nil && len(records.Working()) == 0, err
}

// endTime is the time limit for the end of a run, which verifies that permissions are withdrawn.
const endTime = 6 * time.Minute

// canceledEndTime is the time limit for the end of a canceled run. The run lists the permissions that it has not
// removed by then, and a later run removes them.
const canceledEndTime = 30 * time.Second

// protectionHolders returns a line for each run that still needs the protection. If the records cannot be read, another
// run may need it.
func (r *run) protectionHolders(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), liftTime)
	defer cancel()
	records, err := r.record.Records(ctx)
	if err != nil {
		return []string{"Keeping deregistration protection: whether another run needs it cannot be read: " + err.Error()}
	}
	var lines []string
	for _, holder := range records.ProtectionHolders() {
		why := " has not succeeded. Run its resume file, or give it up: packer build -var mode=cleanup with that file"
		if records.IsWorking(holder) {
			why = " works on the same AMI"
		}
		lines = append(lines, "Keeping deregistration protection for run "+holder.ID+", which"+why)
	}
	return lines
}

// conclude disables the protection after a success, unless another run needs it, and deletes the records of ended runs.
func (r *run) conclude(ctx context.Context) {
	holders := r.protectionHolders(ctx) // another run may have begun since this one ended
	if r.held && len(holders) == 0 {
		holders = []string{"Keeping deregistration protection: another run needed it when this one ended"}
	}
	r.held = len(holders) > 0
	if r.held {
		for _, line := range holders {
			r.ui.Say(line)
		}
		for i := range r.result.Source {
			r.result.Source[i].Held = r.result.Source[i].Protected
		}
	} else {
		r.lift(ctx)
	}
	if !r.begun || r.others {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), liftTime)
	defer cancel()
	err := recovery.Do(func() error {
		if !r.held && len(protected(r.result.Source)) > 0 { // a later run disables the protection
			_, err := r.record.End(ctx, true)
			return err
		}
		return r.record.Clear(ctx)
	})
	if err != nil {
		r.ui.Error("The records of runs that are over could not be deleted from the source image: " + err.Error())
	}
}

// lapsed adds to an error that the record of the run has lapsed, if that is why the context ended.
func lapsed(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, runrecord.ErrLapsed) && !errors.Is(err, cause) {
		return fmt.Errorf("%w\n%w", cause, err)
	}
	return err
}

// tagsOf returns tags by key.
func tagsOf(list []ec2types.Tag) map[string]string {
	tags := map[string]string{}
	for _, tag := range list {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return tags
}
