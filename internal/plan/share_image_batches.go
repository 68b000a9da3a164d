// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"fmt"
	"slices"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// maxEntities is the maximum number of accounts, organizations and units that an image is shared with (rule 2.2.5).
var maxEntities = awslimits.Number(awslimits.ImageShares, awslimits.MaxCount)

// imageBatch holds accounts that an image is shared with at the same time, until their copies are complete. An image
// has several if AWS does not allow launch permissions for all accounts at once.
type imageBatch struct {
	accounts  []string
	share     distribution.StepID
	copySteps []distribution.StepID // copies of these accounts
}

// batchSize returns how many accounts the image can be shared with at the same time, beside its permanent permissions.
func (s *shareSource) batchSize() int { return max(0, maxEntities-s.permanent.Size()) }

// copiesInBatches reports whether more accounts copy the image than it can be shared with at once. It counts all
// destinations, also complete ones, so that a resumed run decides the same.
func (s *shareSource) copiesInBatches(facts distribution.Facts) bool {
	shared := s.permanent
	if !s.stagesImage {
		shared = shared.And(facts.Images[s.region].SharedWith)
	}
	return shared.And(distribution.LaunchPermissions{Accounts: s.accounts(distribution.ByImage)}).Size() > maxEntities
}

// validateImageShareCount returns a finding if the image cannot be shared with all accounts, not even in batches.
func (s *shareSource) validateImageShareCount(a *Assessment) []distribution.Finding {
	permanent := s.permanent
	if !s.stagesImage {
		permanent = permanent.And(a.facts.Images[s.region].SharedWith)
	}

	f := distribution.Finding{
		Level:     distribution.Refused,
		Code:      distribution.CodeTooManyAccounts,
		Reference: "2.2.5",
		Location:  s.location,
		Resource:  imageID(a.req, s.region),
		Summary:   fmt.Sprintf("the image cannot be shared with %d entities", permanent.Size()),
		Detail:    fmt.Sprintf("AWS allows %d accounts, organizations and organizational units for an image", maxEntities),
	}

	temporary := distribution.Without(s.accounts(distribution.ByImage), permanent.Accounts)
	switch {
	case permanent.Size() > maxEntities && !s.permanent.IsEmpty():
		f.Field = "share"
		f.Remediation = "name organization_arns or organizational_unit_arns in place of account_ids"
	case len(temporary) > 0 && permanent.Size() == maxEntities:
		f.Summary = fmt.Sprintf("the image cannot be shared with the %d accounts that copy it", len(temporary))
		f.Detail = fmt.Sprintf("AWS allows %d entities for an image, and its permanent permissions are as many", maxEntities)
		f.Remediation = `name organization_arns in place of account_ids, or set copy_method = "snapshot"`
	case !s.stagesImage && len(temporary)+permanent.Size() > maxEntities:
		f.Field = "kms_key_id"
		f.Summary = fmt.Sprintf("the image cannot be shared with the %d accounts that copy it", len(temporary))
		f.Detail = fmt.Sprintf(
			"AWS allows %d entities for an image, and only a staged copy is shared in batches",
			maxEntities,
		)
		f.Remediation = `set kms_key_id to a customer managed key of the source account, or set copy_method = "snapshot"`
	default:
		return nil
	}
	return []distribution.Finding{f}
}

// batchFinding returns a note if the image is shared in batches, because the batches wait for each other.
func (b *builder) batchFinding(o *preparedSource) {
	if len(o.imageBatches) < 2 {
		return
	}

	n := 0
	for _, batch := range o.imageBatches {
		n += len(batch.accounts)
	}
	b.findings = append(b.findings, distribution.Finding{
		Level:     distribution.Note,
		Code:      distribution.CodeSharedInBatches,
		Reference: "2.2.5",
		Field:     "copy_method",
		Location:  o.location,
		Summary:   fmt.Sprintf("%d accounts copy the image in %d batches", n, len(o.imageBatches)),
		Detail: fmt.Sprintf("AWS allows %d entities for an image; each batch begins when the copies of the one "+
			"before are complete", maxEntities),
		Remediation: `to copy to all accounts at once, set copy_method = "snapshot"`,
	})
}

// splitImageBatches divides accounts into batches and adds the step that shares the image with the first batch.
func (b *builder) splitImageBatches(o *preparedSource, accounts []string) {
	if len(accounts) == 0 {
		return
	}

	for chunk := range slices.Chunk(accounts, max(1, o.batchSize())) {
		o.imageBatches = append(o.imageBatches, &imageBatch{accounts: chunk})
	}
	b.batchFinding(o)
	b.shareImageBatch(o, 0)
}

// batchOf returns the batch of an account. -1 if the image is not temporarily shared with it.
func (o *preparedSource) batchOf(account string) int {
	return slices.IndexFunc(o.imageBatches, func(batch *imageBatch) bool {
		_, found := slices.BinarySearch(batch.accounts, account)
		return found
	})
}

// shareImageBatch adds launch permissions for a batch, after those of the batch before are removed.
func (b *builder) shareImageBatch(o *preparedSource, i int) {
	batch := o.imageBatches[i]
	newStep := &step.ShareImage{
		Base: step.Base{
			ID:               batchStepID("share", o, i),
			Location:         o.location,
			DependsOn:        slices.Clone(o.stageSteps),
			ExpectedDuration: callTime,
		},
		Image:    o.imageRef.ref,
		With:     distribution.LaunchPermissions{Accounts: batch.accounts},
		Baseline: !o.stagesImage,
		Batch:    o.batchNumber(i),
	}

	switch {
	case i > 0:
		newStep.DependsOn = append(newStep.DependsOn, b.unshareImageBatch(o, i-1)...)
	case o.resumesImage:
		newStep.DependsOn = append(newStep.DependsOn, b.unshareEarlierBatches(o)...)
	}
	batch.share = b.add(newStep)
}

// unshareImageBatch adds the step that removes the launch permissions of a batch of a staged image.
func (b *builder) unshareImageBatch(o *preparedSource, i int) []distribution.StepID {
	batch := o.imageBatches[i]
	newStep := &step.UnshareImage{
		Base: step.Base{
			ID:               batchStepID("withdraw", o, i),
			Location:         o.location,
			RunsAfter:        append([]distribution.StepID{batch.share}, batch.copySteps...),
			ExpectedDuration: callTime,
		},
		Image:    o.imageRef.ref,
		Accounts: batch.accounts,
		Batch:    o.batchNumber(i),
	}
	if o.imageRef.ref.From != "" {
		newStep.DependsOn = []distribution.StepID{o.imageRef.ref.From}
	}
	return []distribution.StepID{b.add(newStep)}
}

// unshareEarlierBatches adds a step that removes the launch permissions that a killed run added to a staged image.
// Together with those of the first batch they could exceed the limit of AWS.
func (b *builder) unshareEarlierBatches(o *preparedSource) []distribution.StepID {
	stale := distribution.Without(o.accounts(distribution.ByImage), o.imageBatches[0].accounts)
	stale = distribution.Without(stale, o.permanent.Accounts)
	if !o.isBatched || len(stale) == 0 {
		return nil
	}
	return []distribution.StepID{b.add(&step.UnshareImage{
		Base: step.Base{
			ID:               step.NewID("withdraw", o.location.Region, wholeImage, "earlier"),
			Location:         o.location,
			DependsOn:        slices.Clone(o.stageSteps),
			ExpectedDuration: callTime,
		},
		Image:    o.imageRef.ref,
		Accounts: stale,
	})}
}

// batchNumber returns the number of a batch for messages. Zero if there is only one.
func (o *preparedSource) batchNumber(i int) step.Batch {
	if len(o.imageBatches) == 1 {
		return step.Batch{}
	}
	return step.Batch{Number: i + 1, Of: len(o.imageBatches)}
}

func batchStepID(kind string, o *preparedSource, i int) distribution.StepID {
	id := step.NewID(kind, o.location.Region, wholeImage)
	if i > 0 {
		id += distribution.StepID(fmt.Sprintf("/%d", i+1))
	}
	return id
}

// awaitImageBatch makes a copy wait until the image is shared with its account. For the first copy of a batch, it adds
// the step that shares the image. All copies of the previous batch are known then, because inBatchOrder sorts them.
func (b *builder) awaitImageBatch(o *preparedSource, account string) []distribution.StepID {
	i := o.batchOf(account)
	if i < 0 {
		return nil
	}
	if o.imageBatches[i].share == "" {
		b.shareImageBatch(o, i)
	}
	return []distribution.StepID{o.imageBatches[i].share}
}

// addBatchCopy records a copy of the image for the step that removes the permission of its account.
func (o *preparedSource) addBatchCopy(account string, copySteps []distribution.StepID) {
	if i := o.batchOf(account); i >= 0 {
		o.imageBatches[i].copySteps = append(o.imageBatches[i].copySteps, copySteps...)
	}
}

// inBatchOrder returns the indexes of destinations, ordered by the batch in which they copy the image. Steps come after
// their dependencies, and a batch depends on the copies of the one before.
func inBatchOrder(states []destinationState, sources []*preparedSource) []int {
	order := make([]int, len(states))
	batches := make([]int, len(states))
	for i, g := range states {
		order[i] = i
		for _, o := range sources {
			if len(o.imageBatches) > 1 && g.Method == distribution.ByImage && o.serves(g.At) {
				batches[i] = o.batchOf(g.At.Account)
			}
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return batches[a] - batches[b] })
	return order
}
