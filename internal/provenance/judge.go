// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package provenance

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
)

// Kind is a kind of resource.
type Kind string

// The kinds.
const (
	Snapshot Kind = "snapshot"
	Image    Kind = "image"
	Instance Kind = "instance"
	Volume   Kind = "volume"
	Grant    Kind = "grant"
)

// Resource is what AWS reports about a resource that has our tags. A grant has our name instead.
type Resource struct {
	Kind    Kind
	ID      string
	Account string // that owns it. The owner of the key, for a grant
	Region  string
	Created time.Time // by AWS's clock
	Tags    map[string]string
	KeyARN  string // Empty if AWS does not show it yet (rule 4.6.1, a pending copy), and for an image

	Description    string // of a snapshot
	ClientToken    string // of an instance
	Name           string // of an image or a grant
	IssuingAccount string // of a grant

	SourceImageID string     // of an image: what CopyImage copied. Empty if it was registered
	Snapshots     []Resource // of an image
	Expected      Expected   // of an image
}

// Expected is what a run would give an image in this account and Region.
type Expected struct {
	Names          []string
	SourceImageIDs []string // the source image and the staged images, for CopyImage
}

// Runs returns what the records say about runs. runrecord.Records implements it.
type Runs interface {
	// IsOver reports whether a run no longer owns its resources. It is also true for this run and for the run that it
	// resumes.
	IsOver(run string, created time.Time) bool
	// Covers reports whether there is a record of the run whose time span includes a time.
	Covers(run string, created time.Time) bool
}

// Verdict is what a run may do with a resource.
type Verdict int

// The verdicts.
const (
	Unproven  Verdict = iota // neither signature nor evidence: list it
	Working                  // another active run owns it: leave it, and list it if it was not wanted
	Deletable                // evidence of the creating call: it may be deleted, never adopted
	Adoptable                // signed: it may be adopted, or deleted if it is temporary
)

// Judge holds what a verdict depends on, apart from the resource itself. The attempt that makes the call must read this
// right before, because older values may be stale.
type Judge struct {
	Source SourceImage
	Keys   SigningKeys
	Runs   Runs
	// Answered has the IDs of the resources that this process created, as AWS returned them. Run is the ID of its run.
	Answered []string
	Run      string
}

// ErrWorking says that the run which owns a resource has neither ended nor lapsed.
var ErrWorking = errors.New("may still work with it")

// Judgment is a verdict with its reason.
type Judgment struct {
	Verdict Verdict
	Signed  *Statement // Nil without a valid signature
	Run     string     // that owns the resource. Empty if that is not proved
	Reason  string     // why it is not adopted. Empty if it may be

	id               string
	kind             Kind
	hasWorkingRecord bool // a record says that the run is active. Without a record, the run may also have just ended
}

// Judge judges one resource. A wrong signature outranks any other evidence.
func (j Judge) Judge(r Resource) Judgment {
	result := Judgment{id: r.ID, kind: r.Kind}
	statement, err := j.Keys.verify(j.Source, r)
	switch {
	case err == nil:
		result.Signed, result.Run, result.Verdict = &statement, statement.Run, Adoptable
	case errors.Is(err, errNoSignature):
		if result.Run = j.evidence(r); result.Run != "" {
			result.Verdict = Deletable
		}
	}

	switch {
	case result.Verdict == Unproven && errors.Is(err, errNoSignature):
		result.Reason = "it has neither a signature nor evidence of the call that created it"
	case result.Verdict == Unproven:
		result.Reason = err.Error()
	case !j.Runs.IsOver(result.Run, r.Created):
		result.hasWorkingRecord = j.hasWorkingRecord(result.Run)
		result.Verdict, result.Reason = Working, fmt.Sprintf("run %s %v", result.Run, ErrWorking)
	case result.Verdict == Deletable:
		result.Reason = "it is not signed, so it can only be deleted"
	}
	return result
}

// evidence returns the run whose creating call created an unsigned resource. Empty if there is no evidence.
func (j Judge) evidence(r Resource) string {
	run := r.Tags[TagRun]
	ours := r.Tags[TagSource] == j.Source.String() && run != ""
	call := Call{Kind: r.Kind, Account: r.Account, Region: r.Region, Source: j.Source, Run: run}
	proved := false
	switch r.Kind {
	case Snapshot:
		proved = ours && j.Keys.verifyToken(tokenOfDescription(r.Description), call)
	case Instance:
		proved = ours && j.Keys.verifyToken(CallToken(r.ClientToken), call)
	case Grant:
		imageID, named, token, ok := parseGrantName(r.Name)
		run, call.Run = named, named
		proved = ok && imageID == j.Source.ImageID && r.IssuingAccount == j.Source.Account && j.Keys.verifyToken(token, call)
	case Image:
		proved = ours && (j.wasCopied(r, run) || j.wasRegistered(r))
	}
	switch {
	case proved:
		return run
	case slices.Contains(j.Answered, r.ID): // also if its tags have been changed since
		return j.Run
	}
	return ""
}

// wasCopied reports whether an image has the name and source that CopyImage would have given it, and was created while
// the run in its tags was active.
func (j Judge) wasCopied(r Resource, run string) bool {
	return slices.Contains(r.Expected.Names, r.Name) && r.SourceImageID != "" &&
		slices.Contains(r.Expected.SourceImageIDs, r.SourceImageID) && j.Runs.Covers(run, r.Created)
}

// wasRegistered reports whether an image has the name that RegisterImage would have given it, and all its snapshots are
// signed.
func (j Judge) wasRegistered(r Resource) bool {
	return slices.Contains(r.Expected.Names, r.Name) && r.SourceImageID == "" && len(r.Snapshots) > 0 &&
		!slices.ContainsFunc(r.Snapshots, func(s Resource) bool {
			_, err := j.Keys.verify(j.Source, s)
			return err != nil
		})
}

// DeletionProof names a resource that a run may delete. Only a Judgment creates one, so nothing can be deleted without
// a judgment.
type DeletionProof struct {
	id   string
	kind Kind
}

// ID returns the id of the resource. It panics for a proof that no Judgment gave.
func (p DeletionProof) ID() string {
	if p.id == "" {
		panic("provenance: deletion without proof")
	}
	return p.id
}

// Kind returns the kind of the resource.
func (p DeletionProof) Kind() Kind { return p.kind }

// Deletion returns the proof that a temporary resource, or an unfinished one, may be deleted.
func (j Judgment) Deletion() (DeletionProof, error) {
	switch {
	case j.Verdict < Deletable:
		return DeletionProof{}, fmt.Errorf("%s %s is not deleted: %s", j.kind, j.id, j.Reason)
	case j.Signed != nil && j.Signed.Role != Temporary:
		return DeletionProof{}, fmt.Errorf("%s %s is not deleted: it was delivered", j.kind, j.id)
	}
	return DeletionProof{j.id, j.kind}, nil
}

// hasWorkingRecord reports whether a record says that a run is active. It calls IsOver with a very old creation time,
// because IsOver then takes a missing record for that of an ended run.
func (j Judge) hasWorkingRecord(run string) bool { return !j.Runs.IsOver(run, time.Unix(0, 0)) }

// SnapshotDeletion returns an error if the snapshots of an image must not be deleted with it. That is so if one has a
// wrong signature or belongs to another active run. An unsigned snapshot belongs to its image.
func (j Judge) SnapshotDeletion(image Resource) error {
	for _, snapshot := range image.Snapshots {
		statement, err := j.Keys.verify(j.Source, snapshot)
		switch {
		case errors.Is(err, errNoSignature):
		case err != nil:
			return fmt.Errorf("image %s is not deregistered with its snapshot %s: %w", image.ID, snapshot.ID, err)
		case j.hasWorkingRecord(statement.Run):
			return fmt.Errorf("image %s is not deregistered with its snapshot %s: run %s %w",
				image.ID, snapshot.ID, statement.Run, ErrWorking)
		}
	}
	return nil
}

// Replacement returns the proof that a release may replace a delivered image, by force_deregister or by retention. It
// returns an error if the image belongs to a newer release. It returns ErrWorking if the image belongs to the same
// release and its run may still be active. An image of an older release needs a record that says that its run is
// active.
func (j Judgment) Replacement(release time.Time) (DeletionProof, error) {
	switch {
	case j.Signed == nil:
		return j.Deletion()
	case j.Signed.Release.After(release) && !invariant.ReleaseOrder.IsOff():
		return DeletionProof{}, fmt.Errorf("image %s is not replaced: its release of %s is "+
			"newer", j.id, formatTime(j.Signed.Release))
	case j.Verdict == Working && (j.hasWorkingRecord || !j.Signed.Release.Before(release)):
		return DeletionProof{}, fmt.Errorf("image %s is not replaced: run %s %w", j.id, j.Run, ErrWorking)
	}
	return DeletionProof{j.id, j.kind}, nil
}

// ReplacementByName returns the proof for an image that the template asks to replace by its name (force_deregister).
// judge returns the Judge for a source image. It returns false if the signing keys are unknown, and then nothing
// prevents the replacement.
func ReplacementByName(r Resource, judge func(SourceImage) (Judge, bool), release time.Time) (DeletionProof, error) {
	if source, ok := ParseSourceImage(r.Tags[TagSource]); ok {
		if j, isKnown := judge(source); isKnown {
			return j.Judge(r).Replacement(release)
		}
	}
	return DeletionProof{r.ID, r.Kind}, nil
}

// Adoption returns the statement to sign when the run takes a resource over from an earlier run. Only the run differs
// from the statement in the resource's tags.
func (j Judgment) Adoption(run string) (Statement, error) {
	if j.Verdict != Adoptable {
		return Statement{}, fmt.Errorf("%s %s is not adopted: %s", j.kind, j.id, j.Reason)
	}
	adopted := *j.Signed
	adopted.Run = run
	return adopted, nil
}
