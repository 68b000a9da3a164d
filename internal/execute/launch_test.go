// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/discover"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// launching returns a request with a launch check in every target.
func (h *testWorld) launching() distribution.Request {
	req := h.request()
	req.Targets[0].LaunchCheck = &distribution.LaunchCheck{InstanceType: "t4g.micro"}
	req.RunTags = map[string]distribution.Text{"purpose": "check of {{ .AMI }}"}
	return req
}

// instances returns an account's instances that are neither terminated nor shutting down.
func (h *testWorld) instances(account, region string) []ec2types.Instance {
	h.t.Helper()
	out, err := h.ec2(account, region).DescribeInstances(context.Background(), &ec2.DescribeInstancesInput{
		Filters: []ec2types.Filter{
			{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped"}},
		},
	})
	h.must(err)
	var all []ec2types.Instance
	for _, r := range out.Reservations {
		all = append(all, r.Instances...)
	}
	return all
}

func TestLaunchCheck_success(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed, []string{"222222222222", "333333333333"}, []string{home, away})
		_, result := h.run(t.Context(), h.launching())
		h.complete(result)
		if n := h.calls("ec2:RunInstances"); n != 4 {
			t.Errorf("%d launches, want one for each of 4 images", n)
		}
		for _, account := range h.targets {
			for _, region := range h.regions {
				image := h.ownImages(account, region)[0]
				if image.LastLaunchedTime == nil {
					t.Errorf("%s %s: the image was not launched", account, region)
				}
				if left := h.instances(account, region); len(left) > 0 {
					t.Errorf("%s %s: an instance stays: %+v", account, region, left)
				}
				time.Sleep(time.Minute)
				volumes, err := h.ec2(account, region).DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{})
				h.must(err)
				if len(volumes.Volumes) > 0 {
					t.Errorf("%s %s: %d volumes stay", account, region, len(volumes.Volumes))
				}
			}
		}
	})
}

// The instance and its volumes have the tags of the template, and the tags that prove that a run launched the instance.
func TestLaunchCheck_tags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		req := h.launching()
		p := h.decide(t.Context(), pool, req)
		seen := 0
		runPlan(t.Context(), pool, p, options(req), func(e distribution.Event) {
			if e.Kind != distribution.Finished || !strings.HasPrefix(string(e.Step), "launch/") {
				return
			}
			for _, i := range h.instances("222222222222", home) {
				seen++
				tags := map[string]string{}
				for _, tag := range i.Tags {
					tags[*tag.Key] = *tag.Value
				}
				if tags["purpose"] != "check of "+h.images[0].ImageID || tags["encrypted-ami:source"] == "" ||
					tags["encrypted-ami:run"] == "" {
					t.Errorf("tags %v", tags)
				}
				if i.MetadataOptions.HttpTokens != ec2types.HttpTokensStateRequired {
					t.Error("the metadata service gives without a token")
				}
			}
		})
		if seen != 1 {
			t.Errorf("%d instances ran", seen)
		}
	})
}

// The launching role loses its permission on the key after the copies. The instance terminates, and the finding has
// AWS's reason (rules 8.5 and 8.6).
func TestLaunchCheck_failureSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		pool := h.pool(t.Context(), h.World)
		req := h.launching()
		p := h.decide(t.Context(), pool, req)
		result := runPlan(t.Context(), pool, p, options(req), func(e distribution.Event) {
			if e.Kind == distribution.Finished && strings.HasPrefix(string(e.Step), "verify/") {
				h.forbid("222222222222", "kms:CreateGrant")
			}
		})
		if len(result.Images) != 0 {
			t.Errorf("served with %+v", result.Images)
		}
		if len(result.Findings) != 1 || result.Findings[0].Reference != "8.5" ||
			result.Findings[0].AWSCode != "Client.InvalidKMSKey.InvalidState" ||
			!adds(result.Findings[0], "kms:CreateGrant") || !strings.Contains(result.Findings[0].Resource, ":key/") {
			t.Errorf("findings %+v", result.Findings)
		}
		if len(result.Left) != 1 || result.Left[0].Kind != "image" {
			t.Errorf("left behind: %+v", result.Left)
		}
		if left := h.instances("222222222222", home); len(left) > 0 {
			t.Errorf("an instance stays: %+v", left)
		}
		h.forgive("222222222222")
		again := h.launching()
		again.RunID = "run-2"
		_, result = h.run(t.Context(), again)
		h.complete(result)
	})
}

// No instance stays, whenever the run is canceled. An instance whose launch response was lost has no signature, so the
// run lists it.
func TestLaunchCheck_canceledLeavesNoInstance(t *testing.T) {
	for _, after := range []time.Duration{0, 30 * time.Millisecond, 200 * time.Millisecond, 3 * time.Second} {
		for _, fault := range []awssim.Fault{"", awssim.LostResponse} {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
				pool := h.pool(t.Context(), h.World)
				req := h.launching()
				p := h.decide(t.Context(), pool, req)
				if fault != "" {
					h.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:RunInstances", Times: 100})
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				result := runPlan(ctx, pool, p, options(req), func(e distribution.Event) {
					if e.Kind == distribution.Begun && strings.HasPrefix(string(e.Step), "launch/") {
						time.AfterFunc(after, func() { cancel(errors.New("stopped by hand")) })
					}
				})
				listed := slices.ContainsFunc(
					result.Left,
					func(l distribution.RetainedResource) bool { return l.Kind == "instance" },
				)
				if stays := len(h.instances("222222222222", home)) > 0; stays != listed || stays && fault == "" {
					t.Errorf("canceled after %v, %q: an instance stays: %v, listed: %v", after, fault, stays, listed)
				}
			})
		}
	}
}

// cord is a connection to the world that a test can cut.
type cord struct {
	*awssim.World
	cut atomic.Bool
}

func (c *cord) Do(r *http.Request) (*http.Response, error) {
	if c.cut.Load() {
		return nil, awssim.ErrCrashed
	}
	return c.World.Do(r)
}

// The next run or a clean-up terminates an instance that an earlier run left, even if the launch check is now off.
// An instance that only has our tags is listed and keeps running.
func TestLaunchCheck_instanceOfEarlierRun(t *testing.T) {
	for name, next := range map[string]func(*testWorld, distribution.Request) (plan.Plan, distribution.Result){
		"the next run": func(h *testWorld, req distribution.Request) (plan.Plan, distribution.Result) {
			return h.run(h.t.Context(), req)
		},
		"a clean-up": func(h *testWorld, req distribution.Request) (plan.Plan, distribution.Result) {
			req.Targets[0].LaunchCheck, req.CleansUp = nil, true
			pool := h.pool(h.t.Context(), h.World)
			facts, err := discover.Look(h.t.Context(), pool, req)
			h.must(err)
			p := plan.Assess(req, facts).CleanUp()
			return p, runPlan(h.t.Context(), pool, p, options(req), func(distribution.Event) {})
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
			ctx, die := context.WithCancelCause(t.Context())
			line := &cord{World: h.World}
			pool := h.pool(ctx, line)
			req := h.launching()
			p := h.decide(ctx, pool, req)
			runPlan(ctx, pool, p, options(req), func(e distribution.Event) {
				if e.Kind == distribution.Finished && strings.HasPrefix(string(e.Step), "launch/") {
					line.cut.Store(true)
					die(awssim.ErrCrashed)
				}
			})
			left := h.instances("222222222222", home)
			if len(left) != 1 {
				t.Fatalf("%d instances stay, want that of the run that died", len(left))
			}
			target := h.ec2("222222222222", home)
			forged, err := target.RunInstances(t.Context(), &ec2.RunInstancesInput{
				ImageId: left[0].ImageId, InstanceType: "t4g.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
				TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeInstance, Tags: left[0].Tags}},
			})
			h.must(err)
			req.RunID = "run-2"
			p, result := next(h, req)
			if len(result.Findings) > 0 || !slices.ContainsFunc(
				p.Findings,
				func(f distribution.Finding) bool { return f.Resource == *forged.Instances[0].InstanceId },
			) {
				t.Errorf("%s: nothing is said of the instance with copied tags, or more: %+v, "+
					"%+v", name, p.Findings, result.Findings)
			}
			still := h.instances("222222222222", home)
			if len(still) != 1 || *still[0].InstanceId != *forged.Instances[0].InstanceId {
				t.Errorf("%s: %d instances stay, want that with copied tags alone", name, len(still))
			}
		})
	}
}

// The permissions of the steps are sufficient for a launch check, and it needs each of the EC2 permissions.
func TestLaunchCheck_permissionsAreSufficient(t *testing.T) {
	runWithout := func(without string) (result distribution.Result) {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
			pool := h.pool(t.Context(), h.World)
			req := h.launching()
			p := h.decide(t.Context(), pool, req)
			var actions []string
			for _, s := range p.Steps {
				for _, permission := range s.Permissions() {
					if s.Meta().Location.Account != source && permission.Action != without &&
						!slices.Contains(actions, `"`+permission.Action+`"`) {
						actions = append(actions, `"`+permission.Action+`"`)
					}
				}
			}
			_, err := iam.NewFromConfig(h.Config("222222222222", home)).PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
				RoleName:   aws.String(roleName),
				PolicyName: aws.String("permissions"),
				PolicyDocument: aws.String(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": [` +
					strings.Join(actions, ", ") + `], "Resource": "*"}]}`),
			})
			h.must(err)
			result = runPlan(t.Context(), pool, p, options(req), func(distribution.Event) {})
		})
		return result
	}
	if result := runWithout(""); len(result.Images) != 1 || len(result.Findings)+len(result.Left) > 0 {
		t.Errorf("with all permissions: %+v", result)
	}
	for _, action := range []string{"ec2:RunInstances", "ec2:DescribeInstances", "ec2:TerminateInstances"} {
		result := runWithout(action)
		if !slices.ContainsFunc(result.Findings, func(f distribution.Finding) bool { return adds(f, action) }) {
			t.Errorf("without %s: %+v", action, result.Findings)
		}
	}
}
