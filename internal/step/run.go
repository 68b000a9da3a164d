// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// Run is what the steps of one run share. NewRun creates it.
type Run struct {
	RunSettings

	begun         time.Time
	copies        map[distribution.StepID]*CopySnapshot // copy steps of the run
	createdGrants []*CreateGrant                        // CreateGrant steps of the run
	deleted       sync.Map                              // IDs of deleted snapshots, not to report as retained

	mu         sync.Mutex // guards the fields below
	createdIDs []string   // IDs from responses to creating calls
	knownRuns  distribution.Runs
}

// RunSettings is what a run gives its steps. Dry runs need only the clients.
type RunSettings struct {
	Clients  *awsclient.Pool
	Evidence Evidence
	Keys     map[provenance.SourceImage]provenance.SigningKeys // by source image
	Emit     func(distribution.Event)

	// Explain returns the finding for an error of a step. Nil if the error is nil.
	Explain func(context.Context, Step, error) *distribution.Finding

	// IsEventualConsistency reports whether a retry may succeed, because AWS may not have seen yet what the call needs.
	IsEventualConsistency func(distribution.APIError) bool

	// IsProtectionHeld reports whether the record of a run holds the protection of the source image that has the tags.
	IsProtectionHeld func(tags map[string]string) bool
}

// NewRun returns what the steps of one run share.
func NewRun(steps []Step, settings RunSettings) *Run {
	r := &Run{RunSettings: settings, begun: time.Now(), copies: map[distribution.StepID]*CopySnapshot{}}
	for _, s := range steps {
		switch s := s.(type) {
		case *CopySnapshot:
			r.copies[s.ID] = s
		case *CreateGrant:
			r.createdGrants = append(r.createdGrants, s)
		}
	}
	return r
}

// IsDeleted reports whether the run has deleted a snapshot that one of its steps could not delete.
func (r *Run) IsDeleted(snapshotID string) bool {
	_, isDeleted := r.deleted.Load(snapshotID)
	return isDeleted
}

// GracePeriod is how long a creating call may continue after a cancel. Without its response the ID of the resource
// would be lost.
const GracePeriod = 5 * time.Second

// withGracePeriod returns a context that ends GracePeriod after ctx.
func withGracePeriod(ctx context.Context) (context.Context, func()) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	unhook := context.AfterFunc(ctx, func() { time.AfterFunc(GracePeriod, cancel) })
	return lasting, func() {
		unhook()
		cancel()
	}
}

// Guards check a step right before its call, in case the plan is wrong. They prevent public shares, unencrypted
// copies, keys of other Regions and malformed account IDs.

var accountID = regexp.MustCompile(`^\d{12}$`)

// guardCopy returns an error unless a copy has a source and an explicit key in its own Region (rule 1.3.9, default
// encryption keys).
func guardCopy(a *attempt, source Ref, keyARN string) error {
	if a.id(source) == "" {
		return fmt.Errorf("there is nothing to copy: %s made nothing", source.From)
	}
	key, err := arn.Parse(keyARN)
	if err != nil || key.Service != "kms" || key.Region != a.base.Location.Region {
		return fmt.Errorf("%q is no ARN of a key in %s: nothing is copied without one", keyARN, a.base.Location.Region)
	}
	return nil
}

// guardLaunchPermissions returns an error unless all grantees are accounts, organizations or organizational units.
// It never accepts the group "all".
func guardLaunchPermissions(a distribution.LaunchPermissions) error {
	for _, one := range slices.Concat(a.Organizations, a.Units) {
		if parsed, err := arn.Parse(one); err != nil || parsed.Service != "organizations" {
			return fmt.Errorf("%q is no organization or unit: nothing is shared with it", one)
		}
	}
	if len(a.Accounts) == 0 && !a.IsEmpty() {
		return nil
	}
	return guardShare(a.Accounts)
}

// guardShare returns an error unless all grantees are account IDs. It never accepts "all".
func guardShare(accounts []string) error {
	for _, account := range accounts {
		if !accountID.MatchString(account) {
			return fmt.Errorf("%q is no account id: nothing is shared with it", account)
		}
	}
	if len(accounts) == 0 {
		return fmt.Errorf("there is no account to share with")
	}
	return nil
}
