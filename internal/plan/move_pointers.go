// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// pointerMove is a published reference of a destination, and the image that it will name.
type pointerMove struct {
	distribution.Pointer // Set if it stays

	target      publishTarget
	imageID     string   // image that it will name; empty if it stays
	replaces    []string // images of which it must still name one; empty for any
	description string   // of the value of a parameter
	isRollback  bool
	anyRelease  bool // may replace an image of a newer release
}

// destinationMoves are the moves at one destination.
type destinationMoves struct {
	distribution.Destination
	moves []pointerMove
}

// decideMove returns the plan of mode = "promote" or "rollback". It copies nothing. If a reference of a required
// destination cannot move, none moves.
func (a *Assessment) decideMove() Plan {
	p := Plan{KeyAliases: keyAliases(a.facts), Move: a.req.Move, Keys: a.facts.SigningKeys()}
	destinations, findings := a.Expand()
	p.Findings = append(validateRequest(a.req, destinations), findings...)
	p.Findings = append(p.Findings, a.validateMove()...)
	p.Findings = append(p.Findings, unseenFindings(a.facts)...)
	p.Images = a.uncopiedImages()

	var open []destinationMoves
	for _, d := range destinations {
		if a.facts.Images[d.FromRegion].Image == nil || d.PublishTargets.IsEmpty() {
			continue
		}

		moves, findings := a.movesAt(d)
		if a.req.Move == distribution.Rollback && len(findings) == 0 && !hasMoves(moves) {
			p.Findings = append(p.Findings, notNamedFinding(d, moves))
			continue
		}

		planned := a.destinationPlan(d, nil)
		planned.Pointers, planned.Carried = pointersOf(moves), nil // nothing is copied
		isRefused := slices.ContainsFunc(findings, func(f distribution.Finding) bool {
			return f.Level == distribution.Refused
		})
		planned.LeftOut = isRefused && d.Optional
		for _, f := range findings {
			if d.Optional && f.Level == distribution.Refused {
				f.Level = distribution.Warning
			}
			p.Findings = append(p.Findings, f)
		}

		p.Destinations = append(p.Destinations, planned)
		if !isRefused {
			open = append(open, destinationMoves{d, moves})
		}
	}

	if p.Refused() {
		if isPartlyMoved(p) {
			p.Findings = append(p.Findings, PointerFindings(p, nil)...)
		}
		return p
	}

	p.Steps = a.moveSteps(destinations, open)
	p.Estimate = estimate(p.Steps)
	return p
}

// validateMove returns findings for a request that can move no reference.
func (a *Assessment) validateMove() []distribution.Finding {
	var found []distribution.Finding
	for _, source := range a.req.Images {
		if a.facts.Images[source.Region].Image == nil {
			found = append(found, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeSourceAMIMissing,
				Reference:   "2.2.12",
				Field:       "existing_amis",
				Location:    distribution.Location{Account: a.facts.Source.Account, Region: source.Region},
				Resource:    source.ImageID,
				Summary:     source.ImageID + " is not there",
				Detail:      "a tag of the source AMI proves which images its runs delivered",
				Remediation: "name an AMI that exists",
			})
		}
	}

	if !a.req.Publishes() {
		found = append(found, distribution.Finding{
			Level:       distribution.Refused,
			Code:        distribution.CodeNothingToMove,
			Field:       "mode",
			Summary:     fmt.Sprintf("mode = %q has nothing to move", a.req.Move),
			Detail:      "no target has " + distribution.PublishOptions,
			Remediation: "add " + distribution.PublishOptions + " block to a target",
		})
	}

	return found
}

// movesAt returns the moves at a destination, and findings about it.
func (a *Assessment) movesAt(d distribution.Destination) ([]pointerMove, []distribution.Finding) {
	if a.req.Move == distribution.Promote {
		return a.promotionsAt(d)
	}
	return a.rollbacksAt(d)
}

func hasMoves(moves []pointerMove) bool {
	return slices.ContainsFunc(moves, func(m pointerMove) bool { return !m.Set })
}

func pointersOf(moves []pointerMove) []distribution.Pointer {
	all := make([]distribution.Pointer, len(moves))
	for i, m := range moves {
		all[i] = m.Pointer
		all[i].Image = cmp.Or(m.imageID, m.Names)
	}
	return all
}

// currentPointers returns the references of a destination with the images that they name.
func (a *Assessment) currentPointers(d distribution.Destination) []pointerMove {
	p := a.newPublication(d)
	var all []pointerMove
	for _, target := range publishTargets(d.PublishTargets) {
		m := pointerMove{
			Pointer:    target.pointer(p),
			target:     target,
			isRollback: a.req.Move == distribution.Rollback,
			anyRelease: a.req.AllowOlderRelease || a.req.Move == distribution.Rollback,
		}
		m.Names = target.current(p.site)
		all = append(all, m)
	}
	return all
}

// promotionsAt returns the moves to the copy of the source image.
func (a *Assessment) promotionsAt(d distribution.Destination) ([]pointerMove, []distribution.Finding) {
	findings := a.verifyImage(d)
	for i := range findings {
		if findings[i].Remediation == distributeAgain {
			findings[i].Remediation = `distribute the source AMI first, with publish = "hold"`
		}
	}

	image := a.imageAt(d).use
	if image == nil {
		return a.currentPointers(d), findings
	}

	moves := a.currentPointers(d)
	release := releaseText(a.facts.Images[d.FromRegion].Keys.Release())
	for i := range moves {
		m := &moves[i]
		m.Release = release
		m.Set = m.Names == aws.ToString(image.ImageId)
		switch {
		case m.Set:
		case !a.req.AllowOlderRelease && isNewer(a.facts, d, m.Names):
			findings = append(findings, distribution.Finding{
				Level:       distribution.Refused,
				Code:        distribution.CodeNewerReleasePublished,
				Field:       "allow_older_release",
				Location:    d.At,
				Resource:    m.Name,
				Summary:     fmt.Sprintf("%s names %s of a newer release", m.Pointer, m.Names),
				Detail:      fmt.Sprintf("the release to promote is of %s", release),
				Remediation: "set allow_older_release = true to replace it",
			})
		default:
			m.imageID = aws.ToString(image.ImageId)
		}
	}

	return moves, findings
}

// rollbacksAt returns the moves from the copies of the source image to what each reference named before.
func (a *Assessment) rollbacksAt(d distribution.Destination) ([]pointerMove, []distribution.Finding) {
	if f := unreachableReason(d, a.facts); f != nil {
		return nil, []distribution.Finding{*f}
	}

	findings := a.validatePublication(d)
	delivered := deliveredImages(a.facts, d)
	moves := a.currentPointers(d)
	for i := range moves {
		m := &moves[i]
		if m.Set = !slices.Contains(delivered, m.Names); m.Set {
			m.Release = releaseNamed(a.facts, d.At, m.Names)
			continue
		}

		version, isKnown := earlierVersion(a.facts.Sites[d.At], *m, delivered)
		m.replaces, m.description = delivered, version.Description
		switch reason := unpublishableReason(a.facts, d.At, version.ImageID); {
		case !isKnown:
			findings = append(findings, firstReleaseFinding(d, *m, "no earlier version of it names another image"))
		case version.ImageID == "":
			findings = append(findings, firstReleaseFinding(d, *m, "before, it named "+reason))
		case reason != "":
			f := noRollbackFinding(d, *m, "before, it named "+reason)
			if isDisabledRelease(a.facts, d.At, version.ImageID) {
				f.Remediation = fmt.Sprintf(
					"enable it in account %s, and roll back again: aws ec2 enable-image --region %s --image-id %s",
					d.At.Account, d.At.Region, version.ImageID)
			}
			findings = append(findings, f)
		default:
			m.imageID, m.Release = version.ImageID, releaseNamed(a.facts, d.At, version.ImageID)
		}
	}

	return moves, findings
}

// deliveredImages returns the images at a destination that runs provably delivered from the source image.
func deliveredImages(facts distribution.Facts, d distribution.Destination) []string {
	var ids []string
	for _, image := range facts.Earlier[d.At].Images {
		signed := judge(facts, distribution.ImageResource(d.At, image, nil, provenance.Expected{})).Signed
		if signed != nil && signed.Role == provenance.Delivery && signed.Source == facts.SourceOf(d.FromRegion) {
			ids = append(ids, aws.ToString(image.ImageId))
		}
	}
	return ids
}

// earlierVersion returns the newest version of a reference, before its current one, that names none of the images.
// False if there is none.
func earlierVersion(
	site distribution.DestinationFacts, m pointerMove, delivered []string,
) (distribution.PointerVersion, bool) {
	versions := m.target.earlier(site)
	i := slices.IndexFunc(versions, func(v distribution.PointerVersion) bool {
		return !slices.Contains(delivered, v.ImageID)
	})
	if i < 0 {
		return distribution.PointerVersion{}, false
	}
	return versions[i], true
}

// unpublishableReason returns why a rollback must not publish an image. Anyone who can write a parameter could have put
// another image into its history.
func unpublishableReason(facts distribution.Facts, at distribution.Location, imageID string) string {
	image, isKnown := facts.Published[at][imageID]
	switch {
	case imageID == "":
		return "no image"
	case !isKnown:
		return imageID + ", which does not exist in the account"
	case releaseNamed(facts, at, imageID) == imageID:
		return imageID + ", which no run provably delivered"
	case image.State != ec2types.ImageStateAvailable:
		return imageID + ", whose state is " + string(image.State)
	}
	return ""
}

// isDisabledRelease reports whether a run provably delivered an image that is disabled, as by disable_releases.
func isDisabledRelease(facts distribution.Facts, at distribution.Location, imageID string) bool {
	return facts.Published[at][imageID].State == ec2types.ImageStateDisabled && releaseNamed(facts, at, imageID) != imageID
}

// releaseNamed returns the release of an image, or its ID if no run provably delivered it.
func releaseNamed(facts distribution.Facts, at distribution.Location, imageID string) string {
	image, isKnown := facts.Published[at][imageID]
	if !isKnown {
		return imageID
	}
	signed := judge(facts, distribution.ImageResource(at, image, nil, provenance.Expected{})).Signed
	if signed == nil || signed.Role != provenance.Delivery {
		return imageID
	}
	return releaseText(signed.Release)
}

func releaseText(release time.Time) string { return release.UTC().Format(time.RFC3339) }

func noRollbackFinding(d distribution.Destination, m pointerMove, detail string) distribution.Finding {
	return distribution.Finding{
		Level:    distribution.Refused,
		Code:     distribution.CodeRollbackImpossible,
		Field:    "mode",
		Location: d.At,
		Resource: m.Name,
		Summary:  fmt.Sprintf("%s cannot be rolled back", m.Pointer),
		Detail:   detail,
		Remediation: `find the releases with mode = "usage", and promote the one that it should name with ` +
			`mode = "promote" and allow_older_release = true`,
	}
}

// firstReleaseFinding says that a reference has no earlier release to return to.
func firstReleaseFinding(d distribution.Destination, m pointerMove, detail string) distribution.Finding {
	f := noRollbackFinding(d, m, detail)
	f.Remediation = `there is no earlier release to return to. Publish a corrected release with mode = "promote". ` +
		"To unpublish the AMI until then, " + m.target.unpublishAdvice(d.At.Region)
	return f
}

// notNamedFinding says that no reference of a destination names the release that is rolled back.
func notNamedFinding(d distribution.Destination, moves []pointerMove) distribution.Finding {
	names := make([]string, len(moves))
	for i, m := range moves {
		names[i] = fmt.Sprintf("%s names %s", m.Pointer, cmp.Or(m.Names, "no image"))
	}
	return distribution.Finding{
		Level:    distribution.Note,
		Code:     distribution.CodeReleaseNotNamed,
		Location: d.At,
		Resource: d.Target,
		Summary:  "nothing names the release here, and nothing is changed",
		Detail:   strings.Join(names, "; "),
	}
}

// moveSteps returns the steps that verify all images and then move all references.
func (a *Assessment) moveSteps(all []distribution.Destination, open []destinationMoves) []step.Step {
	b := a.newBuilder(all, nil)
	barrier := &step.PublishBarrier{Base: step.Base{ID: "publish/all"}}
	images := make([]map[string]step.Ref, len(open))
	verifications := make([][]distribution.StepID, len(open))
	isNeeded := false
	for i, d := range open {
		images[i], verifications[i] = b.verifyMoved(d)
		isNeeded = isNeeded || hasMoves(d.moves)
		if !d.Optional {
			barrier.DependsOn = append(barrier.DependsOn, verifications[i]...)
			barrier.Destinations++
		}
	}

	isNeeded = isNeeded && barrier.Destinations > 0
	if isNeeded {
		b.add(barrier)
	}

	var moved []distribution.StepID
	for i, d := range open {
		dependsOn := slices.Clone(verifications[i])
		if isNeeded {
			dependsOn = append(dependsOn, barrier.ID)
		}
		p := a.newPublication(d.Destination)
		state := destinationState{Destination: d.Destination, verifications: dependsOn}
		for _, m := range d.moves {
			if !m.Set {
				state.verifiedImage = images[i][m.imageID]
				moved = append(moved, b.add(m.target.move(p, m, state)))
			}
		}
	}

	if a.req.Move == distribution.Promote { // a release that is on hold deletes no earlier one
		for i, d := range open {
			b.deleteReleases(destinationState{Destination: d.Destination, verifications: verifications[i]}, moved)
		}
		b.retireSources(len(all), len(open), slices.Concat(slices.Concat(verifications...), moved))
	}

	return b.steps
}

// verifyMoved adds the steps that verify the images that references of a destination will name. It returns the
// verified images by ID.
func (b *builder) verifyMoved(d destinationMoves) (map[string]step.Ref, []distribution.StepID) {
	images := map[string]step.Ref{}
	if b.req.Move == distribution.Promote {
		g := b.newDestinationState(d.Destination)
		g.unfinished = nil // a promotion cleans nothing up
		b.addImage(&g, b.copies(&g, nil))
		images[aws.ToString(g.image.ImageId)] = g.verifiedImage
		return images, g.verifications
	}

	var verifications []distribution.StepID
	for _, m := range d.moves {
		if m.Set || images[m.imageID] != (step.Ref{}) {
			continue
		}
		id := b.add(&step.VerifyRelease{
			Base: step.Base{
				ID:               step.NewID("verify", d.At.Account, d.At.Region, m.imageID),
				Location:         d.At,
				Destination:      d.At,
				ExpectedDuration: callTime,
			},
			Target:   d.Target,
			ImageID:  m.imageID,
			Name:     aws.ToString(b.facts.Published[d.At][m.imageID].Name),
			IsSecond: len(images) > 0,
		})
		images[m.imageID] = step.Ref{From: id}
		verifications = append(verifications, id)
	}

	return images, verifications
}

// isPartlyMoved reports whether an earlier run has moved some of the references and not the others. If it has moved
// none, there is nothing to finish and nothing to undo.
func isPartlyMoved(p Plan) bool {
	moved, unmoved := false, false
	for _, d := range p.Destinations {
		for _, pointer := range d.Pointers {
			moved, unmoved = moved || pointer.Set, unmoved || !pointer.Set
		}
	}
	return moved && unmoved
}

// PointerFindings returns a warning if references name different releases after a promotion or a rollback. images are
// those of the result. Before the run they are nil, and the references are those of the plan.
func PointerFindings(p Plan, images []distribution.CreatedImage) []distribution.Finding {
	if p.Move == "" {
		return nil
	}

	var names []string
	releases, unmoved, all := []string{}, 0, 0
	for _, d := range p.Destinations {
		pointers := d.Pointers
		i := slices.IndexFunc(images, func(i distribution.CreatedImage) bool { return i.At == d.At })
		if i >= 0 {
			pointers = images[i].Pointers
		}
		for _, pointer := range pointers {
			all++
			release := cmp.Or(pointer.Release, "no image")
			if !pointer.Set {
				unmoved++
				release = cmp.Or(pointer.Names, "no image")
			}
			releases = append(releases, release)
			names = append(names, fmt.Sprintf("%s in %s names %s", pointer, d.At, release))
		}
	}

	slices.Sort(releases)
	if unmoved == 0 && len(slices.Compact(releases)) < 2 {
		return nil
	}

	summary := "not all " + distribution.PublishedPlural + " name one release"
	if unmoved > 0 {
		summary = fmt.Sprintf("%d of %s did not move", unmoved,
			distribution.Count(all, distribution.Published, distribution.PublishedPlural))
	}
	return []distribution.Finding{{
		Level:       distribution.Warning,
		Code:        distribution.CodePublicationsDiffer,
		Field:       "mode",
		Summary:     summary,
		Detail:      strings.Join(names, "; "),
		Remediation: fmt.Sprintf("run mode = %q again to finish, or %s to undo", p.Move, undoOf(p.Move)),
	}}
}

// undoOf returns the options that undo a promotion or a rollback.
func undoOf(move distribution.PointerMove) string {
	if move == distribution.Promote {
		return `mode = "rollback" with the same AMI`
	}
	return `mode = "promote" with the same AMI`
}
