// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/resume"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/runrecord"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/version"
)

// run is one call of PostProcess.
type run struct {
	*PostProcessor
	ui           packersdk.Ui
	progress     *progress
	printed      map[string]bool // findings
	planned      bool            // the plan was printed
	reads        bool            // the line about reading was printed
	input        packersdk.Artifact
	data         map[string]any // what the build reported: passed to the next post-processor, never shown
	build        distribution.Build
	images       []distribution.SourceImage
	artifactErr  error                  // why the id of the artifact cannot be read in full
	userSupplied bool                   // the images are those of existing_amis: never protected, never removed
	unprotected  bool                   // an image of the build is without protection
	gone         bool                   // AWS shows no image of the artifact
	dropped      []distribution.Finding // about images of the artifact that AWS does not show
	pool         *awsclient.Pool
	account      string // of the source
	unseen       int    // accounts that could not be looked at
	accounts     int    // that the template names, with the source account; 0 if it names organizational units
	clock        *runrecord.Clock
	record       *runrecord.Run
	audience     *awsclient.Audience
	scope        string // digest of the accounts and keys
	keys         map[provenance.SourceImage]provenance.SigningKeys
	begun        bool // the run has tried to write its record
	ended        bool // the run has tried to record its end
	held         bool // another run needs the protection
	others       bool // another run is active
	plan         plan.Plan
	steps        map[distribution.StepID]step.Step
	pending      map[distribution.Location]int // number of steps that must still succeed for a destination
	result       distribution.Result           // of the run so far
	timed        map[distribution.StepID]int   // index of a step in the timeline of result
	files        []*file
	canceled     bool // Packer canceled the run, which failed

	resumePath      string // of the resume file. Empty if there is none
	resumeVariables []resume.Variable
}

func newRun(p *PostProcessor, ui packersdk.Ui, input packersdk.Artifact) *run {
	data := generated(input)
	progress := newProgress(ui)
	r := &run{
		PostProcessor: p,
		ui:            progress,
		progress:      progress,
		input:         input,
		data:          data,
		build:         p.config.ResumedBuild(buildOf(data, p.config.PackerBuildName)),
	}
	r.clock, r.audience = &runrecord.Clock{}, &awsclient.Audience{}
	r.record = runrecord.New(r.clock)
	r.record.ID = cmp.Or(p.runID, r.record.ID)
	return r
}

// run executes the run. It also stores the result if the run fails, panics or is canceled.
func (r *run) run(ctx context.Context) error {
	r.result.Begun = time.Now()
	defer r.progress.stop()
	defer context.AfterFunc(ctx, r.progress.cancel)()
	err := explainCancel(recovery.Do(func() error { return r.do(ctx) }))
	if err == nil && len(r.images) == 0 {
		return nil // nothing was done, and an existing manifest may belong to another build
	}
	r.result.Ended = time.Now()
	if err != nil {
		_ = recovery.Do(func() error { return r.protectAgain(ctx) }) // after an error, the last known state is reported
		_ = recovery.Do(func() error {
			if !r.begun && r.pool != nil {
				r.record.Use(r.recordOptions())
			}
			r.end(ctx, true, nil)
			return nil
		})
		r.canceled = ctx.Err() != nil
		if r.account != "" {
			r.writeResumeFile()
		}
		r.result.Failure = r.headline(err)
	}
	if err == nil && r.isFinished() {
		r.removeResumeFiles()
	}
	r.write()
	r.printEnd()
	return err
}

func (r *run) do(ctx context.Context) error {
	if err := r.resolveSourceImages(); err != nil {
		return err
	}
	r.files = r.newFiles()
	limit := cmp.Or(max(r.config.Timeout, 0), config.DefaultTimeout) // also where the options are invalid
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &timeoutError{limit})
	defer cancel()
	r.progress.startHeartbeat(time.Now().Add(limit))
	if err := r.open(ctx); err != nil {
		return err
	}
	findings := r.protect(ctx)
	if err := r.identify(ctx); err != nil {
		r.printProtection(findings)
		return err
	}
	r.printStart()
	r.printProtection(findings)
	if err := r.dropMissingImages(ctx); err != nil {
		return err
	}
	if err := cmp.Or(r.invalid, r.validateSourceImages()); err != nil {
		for _, line := range errorsOf(err) {
			r.ui.Error(line)
		}
		return &configurationError{err}
	}
	request, err := r.config.Request(r.images, r.build)
	if err != nil {
		return &configurationError{err}
	}
	request.RunID, request.Records = r.record.ID, r.records
	r.scope = scopeOf(request)
	r.record.Use(r.recordOptions())
	r.writeResumeFile()
	r.write()
	switch r.config.Mode {
	case config.ModeCleanup:
		return r.cleanUp(ctx, request)
	case config.ModeVerify:
		return r.check(ctx, request)
	case config.ModeUsage:
		return r.showUsage(ctx, request)
	case config.ModePlan:
		return r.show(ctx, request)
	case config.ModePromote, config.ModeRollback:
		if !r.userSupplied {
			return &configurationError{errPointerMoveOfBuild}
		}
	}
	return r.share(ctx, request)
}

// open creates the AWS clients. Without them, the run cannot protect the image of a build.
func (r *run) open(ctx context.Context) error {
	r.unprotected = !r.userSupplied
	access := r.config.Credentials()
	access.Region = cmp.Or(access.Region, r.images[0].Region)
	access.Version, access.HTTPClient, access.Seed, access.OnOutage = version.Version, r.client, r.seed, r.progress.outage
	access.Guard = awsclient.Guard{Fence: r.record.Check, Observe: r.clock.Observe, Audience: r.audience}
	pool, err := awsclient.New(ctx, access)
	if err != nil {
		return err
	}
	r.pool, r.progress.outages = pool, pool.Outages
	return nil
}

// identify gets the identity of the source credentials from STS. The protection does not depend on it.
func (r *run) identify(ctx context.Context) error {
	r.progress.await("Reading the identity of the source credentials")
	who, err := r.pool.Source(ctx)
	if err != nil {
		err = r.pool.TimeoutError(ctx, err)
		return fmt.Errorf("the source credentials cannot be used: %w", err)
	}
	r.account = who.Account
	return r.checkResumedAccount()
}

// share makes the plan, prints it and executes it.
func (r *run) share(ctx context.Context, request distribution.Request) error {
	ctx, request, p, err := r.prepare(ctx, request)
	if err != nil {
		return lapsed(ctx, err)
	}
	r.write()
	r.printResumeFile()
	result := execute.Run(ctx, r.pool, p, optionsOf(request), r.say)

	missing := report.Missing(p, result)
	required := slices.DeleteFunc(slices.Clone(missing), func(d plan.DestinationPlan) bool { return d.Optional })
	unshared := report.Unshared(p, result)
	isCanceled := ctx.Err() != nil && !isTimeout(ctx) // then it fails even if only optional destinations are missing
	failed := len(required) > request.MaxFailedDestinations || len(unshared) > 0 || len(missing) > 0 && isCanceled
	if failed {
		p.Findings = p.FailUnanswered()
	}
	if failed && r.config.CleansUp() {
		result = r.clean(ctx, request, result)
	}
	result.Findings = diagnose.JoinFindings(p.Findings, result.Findings)
	result.Left = append(result.Left, r.end(ctx, failed, result.Temporary)...)
	r.printResult(result)
	result.Findings = append(p.Findings, result.Findings...)
	r.keep(result)
	if failed {
		return lapsed(ctx, &outcomeError{failureSummary(p, missing, unshared)})
	}
	r.printMissing(missing)
	r.printHeld()
	r.conclude(ctx)
	return nil
}

// prepare makes the plan. For a build, it writes the run record before any lookup. For existing images, it writes the
// record only if the plan has steps, so that a finished run changes nothing.
func (r *run) prepare(
	ctx context.Context, request distribution.Request,
) (context.Context, distribution.Request, plan.Plan, error) {
	if r.userSupplied {
		p, facts, err := r.decide(ctx, request)
		if err != nil || !p.Mutates() && !facts.HasUnfinishedRuns(request.RunID) {
			return ctx, request, p, err
		}
		r.result.Destinations = nil
	}
	ctx, err := r.begin(ctx)
	if err != nil {
		return ctx, request, plan.Plan{}, err
	}
	if request.Images, err = r.ensureSigningKeys(ctx); err != nil {
		return ctx, request, plan.Plan{}, err
	}
	p, _, err := r.decide(ctx, request)
	return ctx, request, p, err
}

// decide looks up the facts, makes the plan and tries dry runs. It returns an error if the lookup fails or the plan is
// refused.
func (r *run) decide(ctx context.Context, request distribution.Request) (plan.Plan, distribution.Facts, error) {
	facts, err := r.look(ctx, request)
	if err != nil {
		return plan.Plan{}, facts, err
	}
	assessment := plan.Assess(request, facts)
	p := assessment.Decide()
	raiseMemoryLimit(len(p.Destinations))
	r.keys = p.Keys
	r.audience.Allow(p.Audience()...)
	r.audience.Allow(r.account)
	notes, err := r.recordFindings(ctx, facts)
	if err != nil {
		return p, facts, err
	}
	p.Findings = slices.Concat(r.dropped, diagnose.ExplainFindings(p.Findings, facts), notes)
	r.printPlan(p, assessment)
	p.Findings = append(p.Findings, execute.DryRun(ctx, r.pool, p, request.MaxFailedDestinations)...)
	p.Findings = diagnose.JoinPlanFindings(p.Findings)
	r.trackPlan(p)
	r.printPlanFindings(p)
	if p.Refused() {
		err = &outcomeError{r.refusedOutcome()}
	}
	return p, facts, err
}

// ensureSigningKeys returns the images with the keys that sign what runs create. It writes a key to an image without
// one.
func (r *run) ensureSigningKeys(ctx context.Context) ([]distribution.SourceImage, error) {
	created := make([]time.Time, 0, len(r.images))
	for _, image := range r.images {
		date, err := r.creationDate(ctx, image)
		if err != nil {
			return nil, fmt.Errorf("nothing was created: read the creation date of %s: %w", image.ImageID, err)
		}
		created = append(created, date)
	}
	release := slices.MinFunc(created, time.Time.Compare)

	images := slices.Clone(r.images)
	for i, image := range images {
		keys, err := r.tagStore(image).EnsureSigningKey(ctx, release)
		if err != nil {
			return nil, fmt.Errorf("nothing was created: write the signing key to a tag of %s in %s: "+
				"%w", image.ImageID, image.Region, err)
		}
		images[i].Keys = keys
	}
	return images, nil
}

// creationDate returns when an image was created. It asks AWS only if the protection step has not read the date.
func (r *run) creationDate(ctx context.Context, image distribution.SourceImage) (time.Time, error) {
	for _, source := range r.result.Source {
		if source.Region == image.Region && source.ImageID == image.ImageID && !source.CreatedAt.IsZero() {
			return source.CreatedAt, nil
		}
	}
	at := distribution.Location{Account: r.account, Region: image.Region}
	return execute.CreationDate(ctx, r.pool, at, image.ImageID)
}

// look looks up the facts, and which of the existing images an earlier run has protected.
func (r *run) look(ctx context.Context, request distribution.Request) (distribution.Facts, error) {
	r.printReading(request)
	facts, err := discover.Look(ctx, r.pool, request)
	if err != nil {
		return facts, r.pool.TimeoutError(ctx, err)
	}
	r.unseen = facts.UnseenAccounts()
	if r.userSupplied {
		r.result.Source = nil
		for _, image := range r.images {
			r.result.Source = append(
				r.result.Source,
				distribution.SourceImageResult{
					Region:    image.Region,
					ImageID:   image.ImageID,
					Protected: bearsProtection(facts.Images[image.Region]),
				},
			)
		}
	}
	return facts, nil
}

// bearsProtection reports whether an image is protected and a run record holds the protection.
func bearsProtection(image distribution.Image) bool {
	return image.Image != nil && step.IsProtected(*image.Image) && runrecord.IsProtectionHeld(tagsOf(image.Image.Tags))
}

// lift disables the protection that this run, or an earlier run that it completed, has enabled. It does so even if the
// run is canceled after its last step. After an error, the images stay protected.
func (r *run) lift(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), liftTime)
	defer cancel()
	for _, image := range r.result.Source {
		if image.Protected {
			r.progress.begin("Disabling deregistration protection on " + image.ImageID)
		}
	}
	ends, findings := execute.DisableProtection(ctx, r.pool, r.account, r.result.Source, r.say)
	for _, end := range ends {
		i := slices.IndexFunc(r.result.Source, func(s distribution.SourceImageResult) bool { return s.Region == end.Region })
		r.result.Source[i] = end
	}
	if len(findings) > 0 {
		r.printFindings(findings, distribution.Refused, distribution.Warning)
	}
	if images := protected(r.result.Source); len(images) > 0 {
		r.ui.Error("Still protected from deregistration: " + strings.Join(images, ", ") + ". To disable the protection:\n" +
			howToDisableProtection(r.result.Source))
	}
}

// liftTime is the time limit for disabling the protection.
const liftTime = time.Minute

// failureSummary returns the beginning of the error of a run: what the run did not achieve.
func failureSummary(p plan.Plan, missing []plan.DestinationPlan, unshared []plan.SharePlan) string {
	if len(missing) == 0 {
		done := "shared"
		if slices.ContainsFunc(unshared, func(s plan.SharePlan) bool { return len(s.Pointers) > 0 }) {
			done = "shared and published"
		}
		all := distribution.Count(len(p.Shares), "image", "images")
		return fmt.Sprintf("%d of %s could not be %s", len(unshared), all, done)
	}
	skipped := 0
	for _, d := range missing {
		if d.LeftOut && !p.IsUnanswered(d) && !p.Refuses(d.At) {
			skipped++
		}
	}
	all := distribution.Count(len(p.Destinations), "destination", "destinations")
	switch failed := len(missing) - skipped; {
	case failed == 0:
		return fmt.Sprintf("%d of %s skipped", skipped, all)
	case skipped > 0:
		return fmt.Sprintf("%d of %s failed, %d skipped", failed, all, skipped)
	}
	return fmt.Sprintf("%d of %s failed", len(missing), all)
}

func optionsOf(request distribution.Request) execute.Options {
	return execute.Options{
		PollInterval: request.PollInterval,
		Evidence:     step.Evidence{Run: request.RunID, Records: request.Records},
	}
}
