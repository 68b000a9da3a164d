// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package share is Packer's face of the main job: the post-processor that hands an AMI to other accounts.
package share

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"runtime/debug"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/survey"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/transfer"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/version"
)

// PostProcessor is encrypted-ami-share.
type PostProcessor struct {
	config     config.Config
	configured bool           // Configure has been called before
	invalid    error          // what a later Configure found wrong
	client     aws.HTTPClient // nil: the network
	seed       uint64         // of the jitter between repeats; 0: drawn
}

var _ packersdk.PostProcessor = (*PostProcessor)(nil)

// ConfigSpec tells Packer the options.
func (p *PostProcessor) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Configure takes the options. Packer calls it when the template is read, with placeholders for what is unknown, and again
// with the build's values right before PostProcess. An error of the second call would make Packer destroy the image that has been
// built: it is kept, and told by PostProcess after the image has been protected.
func (p *PostProcessor) Configure(raws ...any) error {
	err := p.config.Prepare(raws...)
	if p.configured {
		p.invalid = err
		return nil
	}
	p.configured = err == nil
	return err
}

// PostProcess hands the artifact's images to the targets. It returns an artifact of what the targets own, and keeps the input.
func (p *PostProcessor) PostProcess(ctx context.Context, ui packersdk.Ui, input packersdk.Artifact) (_ packersdk.Artifact, keep, forceOverride bool, err error) {
	r := &run{PostProcessor: p, ui: ui, say: newProgress(ui).say, input: input}
	output, err := r.safely(ctx)
	if err != nil {
		return nil, false, false, withProtection(err, r.source)
	}
	return output, true, false, nil
}

// run is one call of PostProcess.
type run struct {
	*PostProcessor
	ui      packersdk.Ui
	say     func(plan.Event)
	input   packersdk.Artifact
	pool    *awsclient.Pool
	account string           // of the source
	source  []plan.SourceEnd // what was done to protect the source images
}

// safely does all of it. A panic becomes an error: it would end the plugin, and Packer would destroy the image.
func (r *run) safely(ctx context.Context) (_ *artifact, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			log.Printf("[ERROR] panic: %v\n%s", reason, debug.Stack())
			err = fmt.Errorf("the plugin failed, please report it: %v", reason)
		}
	}()
	return r.do(ctx)
}

func (r *run) do(ctx context.Context) (*artifact, error) {
	images, err := imagesOf(r.input.Id())
	if err != nil {
		return nil, cmp.Or(accepted(r.input.BuilderId()), err)
	}
	limit := cmp.Or(max(r.config.Timeout, 0), config.DefaultTimeout) // also where the options are invalid
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("timeout: the run has taken %s", limit))
	defer cancel()
	data := generated(r.input)
	build := buildOf(data, r.config.PackerBuildName)
	err = r.protect(ctx, images, build.RunID)
	if err := cmp.Or(r.invalid, err, accepted(r.input.BuilderId())); err != nil {
		return nil, err
	}
	request, err := r.config.Request(images, build)
	if err != nil {
		return nil, err
	}
	result, err := r.transfer(ctx, request)
	if err != nil {
		return nil, err
	}
	r.lift(ctx)
	result.Source = r.source
	return &artifact{result: result, generated: data, remove: func(made []plan.Made) error { return remove(r.pool, made) }}, nil
}

// protect opens the way to AWS and protects the images, unless the template forbids it. A protection that is refused does not end the
// run; the error is that there is no way to AWS.
func (r *run) protect(ctx context.Context, images []plan.SourceImage, id string) (err error) {
	access := r.config.Credentials()
	access.Region = cmp.Or(access.Region, images[0].Region)
	access.Version, access.HTTPClient, access.Seed = version.Version, r.client, r.seed
	if r.pool, err = awsclient.New(ctx, access); err != nil {
		return err
	}
	who, err := r.pool.Source(ctx)
	if err != nil {
		return fmt.Errorf("the source credentials cannot be used: %w", err)
	}
	r.account = who.Account
	if r.config.ProtectSource.False() {
		return nil
	}
	var findings []plan.Finding
	r.source, findings = transfer.Protect(ctx, r.pool, r.account, id, images, r.say)
	if len(findings) > 0 {
		r.ui.Error(report.Findings(findings) + "\n" + unprotected)
	}
	return nil
}

// transfer looks, decides, shows and does.
func (r *run) transfer(ctx context.Context, request plan.Request) (plan.Result, error) {
	facts, err := survey.Look(ctx, r.pool, request)
	if err != nil {
		return plan.Result{}, err
	}
	p := plan.Decide(request, facts)
	if p.Refused() {
		return plan.Result{}, fmt.Errorf("nothing was begun:\n%s", report.Plan(p))
	}
	r.ui.Say(report.Plan(p))
	result := transfer.Run(ctx, r.pool, p, transfer.Options{CopyTimeout: request.CopyTimeout, PollInterval: request.PollInterval}, r.say)
	if missing := report.Missing(p, result); len(missing) > 0 {
		return result, fmt.Errorf("%d of %d destinations have no image:\n%s", len(missing), len(p.Destinations), report.Result(p, result))
	}
	r.ui.Say(report.Result(p, result))
	return result, nil
}

// lift takes the protection away, as the last act of a run that succeeded. Where that fails the images stay protected, and nothing is lost.
func (r *run) lift(ctx context.Context) {
	var findings []plan.Finding
	r.source, findings = transfer.Lift(ctx, r.pool, r.account, r.source, r.say)
	if len(findings) > 0 {
		r.ui.Error(report.Findings(findings) + "\n" + howToLift(r.source))
	}
}
