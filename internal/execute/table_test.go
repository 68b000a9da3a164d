// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// acts counts the mutating calls of a run by account, Region and action.
func acts(records awssim.Records) map[string]int {
	counts := map[string]int{}
	for _, r := range records {
		service, name, _ := strings.Cut(r.Action, ":")
		looks := strings.HasPrefix(name, "Describe") || strings.HasPrefix(name, "Get") || strings.HasPrefix(name, "List")
		if !looks && !r.DryRun && service != "sts" {
			counts[fmt.Sprintf("%s %s %s", r.Account, r.Region, r.Action)]++
		}
	}
	return counts
}

// beyond returns the difference between the calls of two runs, line by line.
func beyond(counts, plain map[string]int) string {
	var text strings.Builder
	all := maps.Clone(counts)
	maps.Copy(all, plain)
	for _, what := range slices.Sorted(maps.Keys(all)) {
		if n := counts[what] - plain[what]; n != 0 {
			fmt.Fprintf(&text, "  %+d %s\n", n, what)
		}
	}
	return text.String()
}

// features are what a template may request in addition to copies.
var features = []struct {
	name string
	with func(*distribution.Request)
}{
	{"share", func(r *distribution.Request) {
		r.Shares = []distribution.Share{{Name: "friends", AccountIDs: []string{friend}}}
	}},
	{"share, grant", func(r *distribution.Request) {
		r.Shares = []distribution.Share{
			{
				Name:       "friends",
				AccountIDs: []string{friend},
				Grants:     []distribution.Grant{{Grantee: "arn:aws:iam::" + friend + ":role/" + roleName}},
				Roles:      []distribution.Role{{RoleName: roleName, ExternalID: "golden"}},
			},
		}
	}},
	{"grant", func(r *distribution.Request) {
		r.Targets[0].Grants = []distribution.Grant{{Grantee: "arn:aws:iam::{{ .AccountId }}:role/" + roleName}}
	}},
	{"source_key_access = grant", byGrant},
	{"ssm_parameter", func(r *distribution.Request) { r.Targets[0].Parameters = []distribution.Parameter{named} }},
	{
		"ssm_parameter, SecureString",
		func(r *distribution.Request) { r.Targets[0].Parameters = []distribution.Parameter{hidden} },
	},
	{"launch_template", func(r *distribution.Request) { r.Targets[0].Templates = []distribution.LaunchTemplate{web} }},
	{
		"launch_template, set_default_version",
		func(r *distribution.Request) { r.Targets[0].Templates = []distribution.LaunchTemplate{webDefault} },
	},
	{"publish = all, ssm_parameter", func(r *distribution.Request) {
		r.PublishAll, r.Targets[0].Parameters = true, []distribution.Parameter{named}
	}},
	{"launch_check", func(r *distribution.Request) {
		r.Targets[0].LaunchCheck = &distribution.LaunchCheck{InstanceType: "t4g.micro"}
	}},
	{
		"deprecate_at",
		func(r *distribution.Request) { r.Targets[0].Lifecycle.DeprecateAt = time.Now().Add(24 * time.Hour) },
	},
	{
		"deregistration_protection",
		func(r *distribution.Request) { r.Targets[0].Lifecycle.Protection = &distribution.Protection{} },
	},
	{"ami_users", func(r *distribution.Request) { r.Targets[0].Lifecycle.Users.Accounts = []string{friend} }},
	{"tags, snapshot_tags, snapshot_copy_duration_minutes", func(r *distribution.Request) {
		r.Targets[0].Tags, r.Targets[0].SnapshotTags, r.Targets[0].CopyMinutes = map[string]distribution.Text{
			"Team": "web",
		}, map[string]distribution.Text{
			"Team": "web",
		}, 30
	}},
	{"force_deregister", func(r *distribution.Request) {
		r.Targets[0].AMIName, r.Targets[0].Lifecycle.ForceDeregister = "taken", true
	}},
	{"test_copy", func(r *distribution.Request) { r.TestCopy = aws.Bool(true) }},
}

// The golden file holds the calls of each copy method, and the additional calls of each feature. Each is counted for
// one account and for many, in the Region of the image and in another.
func TestCalls_everyFeature(t *testing.T) {
	var text strings.Builder
	many := []string{"222222222222", "333333333333", "444444444444"}
	for _, of := range []struct {
		name    string
		volumes []volume
	}{
		{"under the key", []volume{{8, sourceAlias}, {20, sourceAlias}}},
		{"under aws/ebs", []volume{{8, "alias/aws/ebs"}, {20, "alias/aws/ebs"}}},
	} {
		for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
			for _, accounts := range [][]string{many[:1], many} {
				for _, region := range []string{home, away} {
					called := func(with func(*distribution.Request)) (counts map[string]int) {
						synctest.Test(t, func(t *testing.T) {
							h := build(t, of.volumes, accounts, []string{region})
							h.addFeatures()
							h.addShareBlock(func(r *distribution.Request) {
								r.Targets[0].Method = method
								with(r)
							})
							h.putSourceKeyPolicies()
							begun := len(h.Records())
							_, result := h.run(
								t.Context(),
								h.request(),
							)
							if len(result.Images) != len(accounts) || len(result.Findings) > 0 {
								t.Errorf("%s, %s, %v: %d images, %+v", of.name, method, accounts, len(result.Images), result.Findings)
							}
							counts = acts(h.Records()[begun:])
						})
						return counts
					}
					plain := called(func(*distribution.Request) {})
					fmt.Fprintf(
						&text,
						"%s, method %s, %d accounts, %s\n%s",
						of.name,
						method,
						len(accounts),
						region,
						beyond(plain, nil),
					)
					for _, feature := range features {
						fmt.Fprintf(&text, " %s\n%s", feature.name, beyond(called(feature.with), plain))
					}
				}
			}
		}
	}
	golden.Equal(t, "testdata/calls.golden", text.String())
}

// addFeatures creates what the features need: a launch template and an image named "taken" in every target, and a role
// in the account of the share block.
func (h *testWorld) addFeatures() {
	h.t.Helper()
	h.role(h.t.Context(), iam.NewFromConfig(h.Config(friend, home)))
	for _, account := range h.targets {
		for _, region := range h.regions {
			h.template(account, region, "web")
			h.occupy(account, region, "taken")
		}
	}
}

// vendorImage is an image and its snapshot that a vendor shares with the source account.
type vendorImage struct{ image, snapshot string }

// vendors creates an image whose data is billed as a product. Only a vendor can name products (rule 2.3.3).
func (h *testWorld) vendors(name, product string) vendorImage {
	h.t.Helper()
	maker := h.ec2(vendor, home)
	snapshot := h.snapshot(vendor, home, 8)
	wait(h)
	_, err := maker.ModifySnapshotAttribute(h.t.Context(), &ec2.ModifySnapshotAttributeInput{
		SnapshotId: &snapshot,
		Attribute:  ec2types.SnapshotAttributeNameCreateVolumePermission,
		CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{
			Add: []ec2types.CreateVolumePermission{{UserId: aws.String(source)}},
		},
	})
	h.must(err)
	return vendorImage{h.billed(name, product, snapshot), snapshot}
}

const vendor = "801119661308"

// billed registers a vendor's snapshot as a product, for the source account. From then on the snapshot is billed as
// that product.
func (h *testWorld) billed(name, product, snapshot string) string {
	h.t.Helper()
	maker := h.ec2(vendor, home)
	made, err := maker.RegisterImage(h.t.Context(), &ec2.RegisterImageInput{
		Name:               aws.String(name),
		RootDeviceName:     aws.String("/dev/xvda"),
		VirtualizationType: aws.String("hvm"),
		BillingProducts:    []string{product},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &snapshot}},
		},
	})
	h.must(err)
	_, err = maker.ModifyImageAttribute(
		h.t.Context(),
		&ec2.ModifyImageAttributeInput{
			ImageId: made.ImageId,
			LaunchPermission: &ec2types.LaunchPermissionModifications{
				Add: []ec2types.LaunchPermission{{UserId: aws.String(source)}},
			},
		},
	)
	h.must(err)
	return aws.ToString(made.ImageId)
}

// bought replaces the source image by an image that is billed as a product. A vendor registered it, and the source
// account copied it. The vendor may have registered the snapshot as other products afterwards.
func (h *testWorld) bought(product string, afterwards ...string) {
	h.t.Helper()
	of := h.vendors("vendor "+product, product)
	for _, other := range afterwards {
		h.billed("vendor "+other, other, of.snapshot)
	}
	h.images[0].ImageID = h.copied(of.image, "golden "+product, sourceAlias)
}

// copied returns the source account's own copy of an image, under a key.
func (h *testWorld) copied(image, name, key string) string {
	h.t.Helper()
	own, err := h.ec2(source, home).CopyImage(h.t.Context(), &ec2.CopyImageInput{
		Name:          &name,
		SourceImageId: &image,
		SourceRegion:  aws.String(home),
		Encrypted:     aws.Bool(true),
		KmsKeyId:      &key,
	})
	h.must(err)
	wait(h)
	return aws.ToString(own.ImageId)
}

// wait gives all running operations an hour to complete.
func wait(h *testWorld) { h.t.Helper(); time.Sleep(time.Hour) }

// The copies of Windows, RHEL and SUSE images are billed like their source. By default the run copies such an image as
// a whole, and on request by its snapshots.
func TestCalls_billedPlatforms(t *testing.T) {
	for _, product := range []string{"bp-0002", "bp-0010", "bp-000g"} {
		for _, method := range []distribution.Method{distribution.Auto, distribution.BySnapshot} {
			t.Run(product+" "+string(method), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := build(t, mixed[:1], []string{"222222222222"}, []string{away})
					h.bought(product)
					h.with = func(r *distribution.Request) { r.Targets[0].Method = method }
					p, result := h.run(t.Context(), h.request())
					want := map[distribution.Method]distribution.Method{
						distribution.Auto:       distribution.ByImage,
						distribution.BySnapshot: distribution.BySnapshot,
					}[method]
					if p.Destinations[0].Method != want {
						t.Errorf("by %s, want %s", p.Destinations[0].Method, want)
					}
					h.complete(result)
				})
			})
		}
	}
}
