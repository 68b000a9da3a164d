// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package encryptedami implements the post-processor encrypted-ami, which distributes an AMI to other accounts.
package encryptedami

import (
	"context"
	"errors"
	"math"
	"runtime/debug"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/hashicorp/hcl/v2/hcldec"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
)

// PostProcessor is the post-processor encrypted-ami.
type PostProcessor struct {
	config     config.Config
	raws       []any          // of the last Configure
	configured bool           // Configure has been called before
	invalid    error          // what a later Configure found wrong
	client     aws.HTTPClient // Nil for the network
	seed       uint64         // of the jitter between retries. Zero for a random one
	runID      string         // of the next run. Empty for a random one
}

var _ packersdk.PostProcessor = (*PostProcessor)(nil)

// Through returns a PostProcessor that sends its calls through a client, and that derives its jitter from a seed.
func Through(client aws.HTTPClient, seed uint64) *PostProcessor {
	return &PostProcessor{client: client, seed: seed}
}

// ConfigSpec returns the schema of the options.
func (p *PostProcessor) ConfigSpec() hcldec.ObjectSpec { return p.config.FlatMapstructure().HCL2Spec() }

// Configure sets the options. Packer calls it when it reads the template, with placeholders for unknown values, and
// again with the values of the build right before PostProcess. If the second call returned an error, Packer would
// destroy the new image. Its error is therefore stored, and PostProcess returns it after it has protected the image.
func (p *PostProcessor) Configure(raws ...any) error {
	p.raws = raws
	err := p.config.Prepare(raws...)
	if p.configured {
		p.invalid = err
		return nil
	}
	p.configured = err == nil
	return err
}

// The soft memory limit of Go's garbage collector is baseMemory for up to includedDestinations, and grows by
// memoryPerDestination for each further one. A run waits for hours while builds use the same machine, so memory matters
// more than processor time. But below the size of the live heap, the garbage collector would run all the time.
const (
	baseMemory           = 100 << 20 // bytes
	includedDestinations = 1000
	memoryPerDestination = 32 << 10 // bytes
)

// memoryLimit returns the memory limit for a number of destinations, in bytes.
func memoryLimit(destinations int) int64 {
	return baseMemory + memoryPerDestination*int64(max(destinations-includedDestinations, 0))
}

// limitMemory sets the memory limit of Go until the returned function is called. The environment variable GOMEMLIMIT
// takes precedence.
func limitMemory() func() {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return func() {}
	}
	debug.SetMemoryLimit(memoryLimit(0))
	return func() { debug.SetMemoryLimit(math.MaxInt64) }
}

// raiseMemoryLimit raises the limit that limitMemory has set to the one for a number of destinations. It keeps a limit
// from the environment.
func raiseMemoryLimit(destinations int) {
	if debug.SetMemoryLimit(-1) == memoryLimit(0) {
		debug.SetMemoryLimit(memoryLimit(destinations))
	}
}

// PostProcess distributes the images to the targets. It returns an artifact with the images of the targets. It keeps
// the input artifact if a destination still needs the image or if other accounts launch it, whatever the template says.
func (p *PostProcessor) PostProcess(
	ctx context.Context,
	ui packersdk.Ui,
	input packersdk.Artifact,
) (_ packersdk.Artifact, keep, forceOverride bool, err error) {
	defer limitMemory()()
	r := newRun(p, ui, input)
	err = r.run(ctx)
	if err != nil && !r.onlyShown() {
		return nil, false, false, r.explain(err)
	}
	if _, printed := errors.AsType[*outcomeError](err); err != nil && !printed {
		ui.Error(err.Error())
	}
	return r.artifact(), true, p.config.Mode == config.ModePlan || len(unfinished(r.result)) > 0 ||
		launchedFrom(r.result, r.images), nil
}
