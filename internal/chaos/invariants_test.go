// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package chaos_test

import (
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

const (
	fence        = 16 * time.Minute // a call is signed this long before its record lapses, or earlier
	staleFor     = time.Minute      // maximum age of what a read of the simulator shows
	sameAttempt  = 5 * time.Minute  // maximum time from reading evidence to acting on it
	missingAfter = 15 * time.Minute // minimum age of a resource at which a missing record means that its run has ended
)

// judge checks a call of a run against the invariants that a single call can violate.
func (a *auditor) judge(log *attemptLog, m awssim.Mutation) {
	if isExempt(m) {
		a.judgeRecords(log, m)
		return
	}
	a.judgeFence(log, m)
	a.judgeRecorded(log, m)
	for _, id := range deleted(m) {
		a.deletions++
		a.judgeDeletion(log, m, id)
	}
	a.judgeAdoption(log, m)
	a.judgePermissions(log, m)
	a.judgeCopy(log, m)
	a.judgePublication(log, m)
}

// isExempt reports whether a call needs no record: protection, signing keys and records.
func isExempt(m awssim.Mutation) bool {
	switch in := m.Input.(type) {
	case *ec2.EnableImageDeregistrationProtectionInput:
		return true
	case *ec2.CreateTagsInput:
		return onlyKeys(fixture.Tags(in.Tags), tagRecord, tagSigningKey)
	case *ec2.DeleteTagsInput:
		return onlyKeys(fixture.Tags(in.Tags), tagRecord)
	}
	return false
}

func onlyKeys(tags map[string]string, prefixes ...string) bool {
	for key := range tags {
		if !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
			return false
		}
	}
	return len(tags) > 0
}

// judgeRecords checks that each record has one writer, is not renewed after it has lapsed, and is deleted only after
// its run. A signing key is never overwritten.
func (a *auditor) judgeRecords(log *attemptLog, m awssim.Mutation) {
	switch in := m.Input.(type) {
	case *ec2.CreateTagsInput:
		image, _ := m.Before.Resource(log.image)
		for key, value := range fixture.Tags(in.Tags) {
			run := a.runs[strings.TrimPrefix(key, tagRecord)]
			switch {
			case strings.HasPrefix(key, tagSigningKey) && image.Tags[key] != "" && image.Tags[key] != value:
				a.violation(4, "run %d overwrites a signing key", log.number)
			case run == nil:
			case run.attempt != log:
				a.violation(1, "run %d writes the record of run %d", log.number, run.attempt.number)
			case strings.HasPrefix(value, "working") && m.At.After(run.until):
				a.violation(2, "run %d renews its record, which lapsed %v ago", log.number, m.At.Sub(run.until))
			}
		}
	case *ec2.DeleteTagsInput:
		for key := range fixture.Tags(in.Tags) {
			run := a.runs[strings.TrimPrefix(key, tagRecord)]
			if run != nil && run.attempt != log && !a.isOver(run.id, 0, m) {
				a.violation(7, "run %d deletes the record of run %d, which works", log.number, run.attempt.number)
			}
		}
	}
}

// judgeFence checks that a call can have no effect after its run's record has lapsed.
func (a *auditor) judgeFence(log *attemptLog, m awssim.Mutation) {
	run := a.runs[log.current()]
	if run == nil {
		return // judgeRecorded reports a missing record
	}
	if late := m.SignedAt.Sub(run.until.Add(-fence)); late > time.Second {
		a.violation(2, "run %d signs %s %v too late", log.number, m.Action, late)
	}
	if m.At.After(run.until) {
		a.violation(2, "%s of run %d has its effect %v after its record lapsed", m.Action, log.number, m.At.Sub(run.until))
	}
}

// judgeRecorded checks that a run has a record before it changes anything, and while it creates resources. The image of
// a build must be protected by then.
func (a *auditor) judgeRecorded(log *attemptLog, m awssim.Mutation) {
	run := a.runs[log.current()]
	switch {
	case run == nil:
		a.violation(5, "run %d calls %s without a record", log.number, m.Action)
		return
	case len(created(m)) == 0 || m.Fault == awssim.LateArrival || m.Fault == awssim.PauseBeforeSend:
		return // a request that was signed before may arrive after the run has ended
	case !run.ended.IsZero():
		a.violation(5, "run %d calls %s after it has ended", log.number, m.Action)
	}
	image, _ := m.Before.Resource(log.image)
	if image.Tags[tagRecord+run.id] == "" {
		a.violation(5, "run %d calls %s, and its record is gone", log.number, m.Action)
	}
	if !log.existing && !image.Protected {
		a.violation(5, "run %d calls %s, and the image of its build is not protected", log.number, m.Action)
	}
}

// deleted returns the ids of what a call deletes.
func deleted(m awssim.Mutation) []string {
	switch in := m.Input.(type) {
	case *ec2.DeleteSnapshotInput, *ec2.DeregisterImageInput, *ec2.DeleteVolumeInput, *ec2.TerminateInstancesInput:
		return slices.DeleteFunc(slices.Clone(m.Changed), func(id string) bool {
			_, existed := m.Before.Resource(id)
			return !existed
		})
	case *kms.RevokeGrantInput:
		return []string{*in.GrantId}
	case *kms.RetireGrantInput:
		return m.Changed
	}
	return nil
}

// judgeDeletion checks that a run deletes only what it may delete.
func (a *auditor) judgeDeletion(log *attemptLog, m awssim.Mutation, id string) {
	found := a.resources[id]
	if found == nil {
		a.violation(4, "run %d deletes %s by %s, which no run created", log.number, id, m.Action)
		return
	}
	read := a.judgeRead(log, m, id)
	a.judgeOwner(log, m, id, found, read)
	r, exists := m.Before.Resource(id)
	if !exists {
		return // a grant has no tags
	}

	signature := r.Tags[tagSignature]
	isWrong := signature != "" &&
		!slices.ContainsFunc(found.owners, func(o ownership) bool { return o.signature == signature })
	if isWrong && found.tampered.Before(read.Add(-2*staleFor)) {
		a.violation(4, "run %d deletes %s, whose signature is wrong", log.number, id)
	}
	if m.Action == "ec2:DeregisterImage" && found.creator.release > log.release {
		a.violation(9, "run %d removes %s of a newer release", log.number, id)
	}
}

// judgeRead checks that a run has read the records and the evidence right before the call. It returns the time of the
// read.
func (a *auditor) judgeRead(log *attemptLog, m awssim.Mutation, id string) time.Time {
	read := log.reads[id]
	switch in := m.Input.(type) {
	case *ec2.DeregisterImageInput:
		read = log.reads[*in.ImageId]
	case *kms.RevokeGrantInput, *kms.RetireGrantInput:
		read = log.reads[anyGrant]
	}
	// No run adopts an instance, so the run that launched it may terminate it even if AWS does not describe it.
	found := a.resources[id]
	if m.Action == "ec2:TerminateInstances" && found != nil && found.creator == log && read.IsZero() {
		read = log.reads[log.image]
	}
	for what, at := range map[string]time.Time{"the evidence": read, "the records": log.reads[log.image]} {
		if at.IsZero() {
			a.violation(3, "run %d acts on %s by %s, and never read %s", log.number, id, m.Action, what)
		} else if awake := log.awakeBetween(at, m.SignedAt); awake > sameAttempt {
			a.violation(
				3,
				"run %d acts on %s by %s, and read %s %v ago",
				log.number,
				id,
				m.Action,
				what,
				awake.Round(time.Minute),
			)
		}
	}
	if log.reads[log.image].Before(read) {
		read = log.reads[log.image]
	}
	return read
}

// judgeOwner checks that a resource belongs to this run or to an ended run, as far as this run could know.
func (a *auditor) judgeOwner(log *attemptLog, m awssim.Mutation, id string, found *resource, read time.Time) {
	seen := read.Add(-staleFor)
	owner := found.ownerAt(seen)
	if r, ok := m.Before.Resource(id); ok { // another user may have restored the signature of an earlier owner
		for _, earlier := range found.owners {
			if earlier.signature != "" && earlier.signature == r.Tags[tagSignature] && earlier.run == r.Tags[tagRun] {
				owner = earlier
			}
		}
	}
	isMissing := owner.run == "" && time.Since(found.created) > missingAfter
	if slices.Contains(log.ids, owner.run) || found.creator == log || isMissing {
		return
	}
	if !a.isOver(owner.run, 0, m) {
		a.violation(1, "run %d acts on %s by %s, which belongs to run %d", log.number, id, m.Action, a.numberOf(owner.run))
	}
}

func (a *auditor) numberOf(id string) int {
	if run := a.runs[id]; run != nil {
		return run.attempt.number
	}
	return 0
}

// judgeAdoption checks that a run signs only what it created, or what belongs to an ended run.
func (a *auditor) judgeAdoption(log *attemptLog, m awssim.Mutation) {
	in, ok := m.Input.(*ec2.CreateTagsInput)
	tags := map[string]string{}
	if ok {
		tags = fixture.Tags(in.Tags)
	}
	for key, value := range tags {
		for _, id := range in.Resources {
			r, _ := m.Before.Resource(id)
			if strings.HasPrefix(key, tagBaseline) && r.Tags[key] != "" && r.Tags[key] != value {
				a.violation(6, "run %d overwrites the baseline of %s", log.number, id)
			}
		}
	}
	if tags[tagRun] == "" && tags[tagSignature] == "" {
		return
	}
	for _, id := range in.Resources {
		found := a.resources[id]
		switch {
		case found == nil:
			a.violation(4, "run %d signs %s, which no run created", log.number, id)
		case !slices.Contains(log.ids, found.owner().run):
			a.judgeOwner(log, m, id, found, a.judgeRead(log, m, id))
		}
	}
}

// judgePermissions checks which accounts get a permission, and that no account loses one that it still needs.
func (a *auditor) judgePermissions(log *attemptLog, m awssim.Mutation) {
	id, added, removed := permissions(m)
	image, _ := m.Before.Resource(log.image)
	for _, account := range added {
		if !slices.Contains(a.allowed, account) {
			a.violation(10, "run %d gives %s a permission on %s", log.number, account, id)
		}
		if a.shared[id] != "" && account == fixture.Friend && !slices.Contains(permanent(image.Tags), account) {
			a.violation(7, "run %d gives %s a permission that no tag calls permanent", log.number, account)
		}
	}
	if len(removed) > 0 {
		a.judgeWithdrawal(log, m, id, removed)
	}
}

// judgeWithdrawal checks that accounts keep permanent permissions and those that another run needs.
func (a *auditor) judgeWithdrawal(log *attemptLog, m awssim.Mutation, id string, accounts []string) {
	if found := a.resources[id]; found != nil {
		a.judgeOwner(log, m, id, found, log.reads[log.image])
		return
	}
	a.judgeRead(log, m, id)
	image, _ := m.Before.Resource(log.image)
	for _, account := range accounts {
		if slices.Contains(a.permitted[id], account) || slices.Contains(permanent(image.Tags), account) {
			a.violation(7, "run %d withdraws the permission of %s on %s, which is permanent", log.number, account, id)
		}
	}
	for _, other := range a.runs {
		isSeen := other.began.Before(log.reads[log.image].Add(-staleFor))
		if other.attempt != log && other.attempt.image == log.image && isSeen && !a.isOver(other.id, 0, m) {
			a.violation(7, "run %d withdraws permissions on %s while run %d works", log.number, id, other.attempt.number)
		}
	}
}

// judgeCopy checks that a run that copies in a target has itself added the permission for it.
func (a *auditor) judgeCopy(log *attemptLog, m awssim.Mutation) {
	var source string
	switch in := m.Input.(type) {
	case *ec2.CopySnapshotInput:
		source = aws.ToString(in.SourceSnapshotId)
	case *ec2.CopyImageInput:
		source = aws.ToString(in.SourceImageId)
	}
	r, _ := m.Before.Resource(source)
	if source == "" || r.Account == m.Account || len(m.Changed) == 0 || slices.Contains(a.permitted[source], m.Account) {
		return
	}
	if !log.shares[source+" "+m.Account] {
		a.violation(6, "run %d copies %s to %s by a permission that it did not give", log.number, source, m.Account)
	}
}

// judgePublication checks that no parameter or launch template changes from a newer image to an older one.
func (a *auditor) judgePublication(log *attemptLog, m awssim.Mutation) {
	name, image := a.publication(m)
	if name == "" {
		return
	}
	if in, ok := m.Input.(*ssm.PutParameterInput); ok && !aws.ToBool(in.Overwrite) {
		return // the call creates the parameter. judgeReleases checks which image it names in the end
	}
	now, before := a.resources[image], a.resources[a.published[name]]
	switch {
	case now == nil:
		a.violation(4, "run %d publishes %s as %s, which no run created", log.number, image, name)
	case before != nil && before.creator.release > now.creator.release:
		a.violation(9, "run %d publishes %s as %s in place of a newer release", log.number, image, name)
	}
}

// publication returns the parameter or launch template that a call changes, and the image that it names afterwards.
func (a *auditor) publication(m awssim.Mutation) (name, image string) {
	switch in := m.Input.(type) {
	case *ssm.PutParameterInput:
		return m.Account + " " + m.Region + " parameter " + *in.Name, aws.ToString(in.Value)
	case *ec2.ModifyLaunchTemplateInput:
		return m.Account + " " + m.Region + " launch template", a.versions[versionKey(m, aws.ToString(in.DefaultVersion))]
	}
	return "", ""
}
