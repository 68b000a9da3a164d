// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/execute"
)

// The test tries each undocumented or unpromised behavior of AWS. The run completes with each, and a second run changes
// nothing.
func TestRun_eitherBehaviorOfAWS(t *testing.T) {
	for _, alternative := range awssim.Alternatives() {
		for name, method := range map[string]func(distribution.Request) distribution.Request{
			"snapshot": func(req distribution.Request) distribution.Request { return req }, "image": byImage,
		} {
			t.Run(string(alternative)+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed, []string{target}, []string{home, away}, awssim.WithAlternatives(alternative))
					_, result := h.run(t.Context(), method(h.request()))
					if alternative == awssim.KeptSnapshots && name == "image" { // the snapshots of the staged image are kept
						if len(result.Left) != len(mixed) {
							t.Errorf("the run reports %+v as left behind, want %d snapshots", result.Left, len(mixed))
						}
						return
					}
					h.complete(result)
					h.unshared()

					before := len(h.Records())
					_, result = h.run(t.Context(), method(h.request()))
					h.complete(result)
					if changed := h.Records()[before:].Mutating(); len(changed) > 0 {
						t.Errorf("the second run changed something: %+v", changed)
					}
				})
			})
		}
	}
}

// Several devices may use one snapshot. Every method shares, copies and verifies it, whether CopyImage copies it once
// or once a device. A second run changes nothing.
func TestRun_sharedSnapshot(t *testing.T) {
	methods := map[string]func(distribution.Request) distribution.Request{
		"snapshot": func(req distribution.Request) distribution.Request { return req }, "image": byImage,
	}
	for name, method := range methods {
		for copies, options := range map[string][]awssim.Option{
			"each device": nil, "once": {awssim.WithAlternatives(awssim.OneCopyForAllDevices)},
		} {
			for staging, volumes := range map[string][]volume{"staged": mixed[:1], "shared": {{8, sourceAlias}}, "both": mixed} {
				t.Run(strings.Join([]string{name, copies, staging}, "/"), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						h := build(t, volumes, []string{target}, []string{home, away}, options...)
						h.remade(shareSnapshots)
						_, result := h.run(t.Context(), method(h.request()))
						h.complete(result)
						h.unshared()

						before := len(h.Records())
						_, result = h.run(t.Context(), method(h.request()))
						h.complete(result)
						if changed := h.Records()[before:].Mutating(); len(changed) > 0 {
							t.Errorf("the second run changed something: %+v", changed)
						}
					})
				})
			}
		}
	}
}

// shareSnapshots gives each snapshot a second device.
func shareSnapshots(in *ec2.RegisterImageInput) {
	for i, device := range in.BlockDeviceMappings {
		if device.Ebs != nil && device.Ebs.SnapshotId != nil {
			device.DeviceName = aws.String("/dev/sd" + string(rune('m'+i)))
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, device)
		}
	}
}

// If AWS performs a dry run instead of only checking it, the run reports that and makes no further dry runs. Each of
// them would create a resource that no run knows.
func TestProve_dryRunPerformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[:1], []string{target}, []string{home, away}, awssim.WithAlternatives(awssim.ActingDryRuns))
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, h.request())
		found := execute.DryRun(t.Context(), pool, p, 0)
		performed := slices.ContainsFunc(found, func(f distribution.Finding) bool {
			return f.Level == distribution.Refused && f.Reference == "6.1" && f.Remediation != ""
		})
		if !performed {
			t.Errorf("AWS performed a dry run, and the findings are %+v", found)
		}
	})
}

// The response to the first PutParameter is lost, and the run calls it again before AWS shows the parameter. AWS may
// add a version or refuse the call. Either way the run recognizes its own parameter.
func TestPutParameter_lostResponse(t *testing.T) {
	for version, option := range map[int64]awssim.Option{
		1: awssim.WithAlternatives(awssim.HiddenParameterTaken), 2: func(*awssim.World) {},
	} {
		synctest.Test(t, func(t *testing.T) {
			parameter := named
			parameter.Overwrite = false
			h, req := published(t, parameter)
			option(h.World)
			h.Inject(awssim.FaultRule{Fault: awssim.LostResponse, Action: "ssm:PutParameter", Times: 1})
			_, result := h.run(t.Context(), req)
			h.complete(result)
			h.names("/golden/"+home, version, result)
		})
	}
}

// Each mutating operation fails with a lasting server error. The run ends with a finding, and reports what it leaves
// behind.
func TestRun_lastingServerError(t *testing.T) {
	for name, method := range map[string]func(distribution.Request) distribution.Request{
		"snapshot": func(req distribution.Request) distribution.Request { return req }, "image": byImage,
	} {
		var actions []string
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed[:1], []string{target}, []string{home, away})
			_, result := h.run(t.Context(), method(h.request()))
			h.complete(result)
			for _, r := range h.Records().Mutating() {
				if r.Account != source || strings.HasPrefix(r.Action, "ec2:") {
					actions = append(actions, r.Action)
				}
			}
		})

		slices.Sort(actions)
		for _, action := range slices.Compact(actions) {
			t.Run(name+"/"+action, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed[:1], []string{target}, []string{home, away})
					pool := h.pool(t.Context(), h.World)
					p := h.decide(t.Context(), pool, method(h.request()))
					h.Inject(awssim.FaultRule{Fault: awssim.ServerError, Action: action})
					ctx, stop := context.WithTimeout(t.Context(), 6*time.Hour) // the timeout of the template
					defer stop()
					result := runPlan(ctx, pool, p, options(h.request()), func(distribution.Event) {})
					if len(result.Findings) == 0 && len(result.Left) == 0 {
						h.complete(result)
					}
					for _, id := range h.unusedSnapshots() {
						if !slices.ContainsFunc(result.Left, func(l distribution.RetainedResource) bool { return l.Resource == id }) {
							t.Errorf("%s is left behind and not reported: %+v", id, result.Left)
						}
					}
				})
			})
		}
	}
}

// unusedSnapshots returns the snapshots that no image uses.
func (h *testWorld) unusedSnapshots() (ids []string) {
	for _, account := range []string{source, target} {
		for _, region := range []string{home, away} {
			used := map[string]bool{}
			for _, image := range h.ownImages(account, region) {
				for _, m := range image.BlockDeviceMappings {
					if m.Ebs != nil {
						used[aws.ToString(m.Ebs.SnapshotId)] = true
					}
				}
			}
			for _, s := range h.ownSnapshots(account, region) {
				if id := aws.ToString(s.SnapshotId); !used[id] {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
}
