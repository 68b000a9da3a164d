// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package preflight is the data source that plans a distribution before the build. It returns the properties of the
// image that will be built, and reports what would prevent its distribution.
package preflight

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/packer-plugin-sdk/hcl2helper"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	"github.com/zclconf/go-cty/cty"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/diagnose"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/version"
)

// Datasource is the data source encrypted-ami-preflight.
type Datasource struct {
	config config.Preflight
	client aws.HTTPClient // Nil for the network
	seed   uint64         // of the jitter between retries. Zero for a random one
}

var _ packersdk.Datasource = (*Datasource)(nil)

// ConfigSpec returns the schema of the options.
func (d *Datasource) ConfigSpec() hcldec.ObjectSpec { return d.config.FlatMapstructure().HCL2Spec() }

// OutputSpec returns the schema of the output.
func (d *Datasource) OutputSpec() hcldec.ObjectSpec {
	return new(Output).FlatMapstructure().HCL2Spec()
}

// Configure sets the options.
func (d *Datasource) Configure(raws ...any) error { return d.config.Prepare(raws...) }

// Execute looks up the facts and makes the plan. Packer passes neither a context nor a user interface. Execute
// therefore has its own timeout, and returns its findings as values or as one error.
func (d *Datasource) Execute() (cty.Value, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), d.config.Timeout, fmt.Errorf("timeout: the preflight "+
		"has taken %s", d.config.Timeout))
	defer cancel()
	found, err := d.look(ctx)
	if err != nil {
		return cty.NullVal(cty.EmptyObject), err
	}
	return hcl2helper.HCL2ValueFromConfig(found, d.OutputSpec()), nil
}

func (d *Datasource) look(ctx context.Context) (Output, error) {
	request, err := d.config.Request()
	if err != nil {
		return Output{}, err
	}
	access := d.config.Credentials()
	access.Version, access.HTTPClient, access.Seed = version.Version, d.client, d.seed
	pool, err := awsclient.New(ctx, access)
	if err != nil {
		return Output{}, err
	}
	facts, err := discover.Look(ctx, pool, request)
	if err != nil {
		return Output{}, pool.TimeoutError(ctx, err)
	}
	p := plan.Assess(request, facts).Decide()
	p.Findings = append(
		diagnose.ExplainFindings(p.Findings, facts),
		execute.DryRun(ctx, pool, p, request.MaxFailedDestinations)...)
	if slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool { return d.config.Fails(f.Level) }) {
		return Output{}, fmt.Errorf("the preflight found problems; nothing was changed:\n%s", report.Findings(p.Findings))
	}
	targets, err := d.config.TargetsAsJSON(request, p.AccountsByTarget())
	if err != nil {
		return Output{}, err
	}
	return output(p, facts, plan.Assess(request, facts).Alternatives(), request.Build.Region, targets), nil
}
