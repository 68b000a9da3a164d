// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

const (
	source = "111111111111"
	tokyo  = "ap-northeast-1"
	oregon = "us-west-2"
)

var others = []string{"444444444444", "555555555555", "999999999999"}

// world returns a request and facts. The source image has three volumes (under aws/ebs, under the configured key,
// unencrypted), and three accounts in two Regions get copies.
func world() (distribution.Request, distribution.Facts) {
	req := distribution.Request{
		Images:   []distribution.SourceImage{{Region: tokyo, ImageID: "ami-0aaaaaaaaaaaaaaaa"}},
		KMSKeyID: "alias/golden-source",
		Targets: []distribution.Target{{
			Name: "prod", AccountIDs: others, Regions: []string{tokyo, oregon},
			Roles: []distribution.Role{{RoleName: "golden-image-target"}}, KMSKeyID: "alias/golden-{{ .Region }}",
		}},
		Build: distribution.Build{Name: "golden", Region: tokyo, RunID: "run-1"}, RunID: "run-1",
	}
	facts := distribution.Facts{
		At:     time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
		Source: distribution.CallerIdentity{Account: source, ARN: "arn:aws:iam::111111111111:root", Partition: "aws"},
		Images: map[string]distribution.Image{tokyo: image()},
		Keys: map[distribution.Location]map[string]distribution.Key{
			{Account: source, Region: tokyo}: {
				"alias/golden-source":            key(source, tokyo, "cust"),
				keyARN(source, tokyo, "cust"):    key(source, tokyo, "cust"),
				keyARN(source, tokyo, "aws-ebs"): managed(key(source, tokyo, "aws-ebs")),
			},
			{Account: source, Region: oregon}: {"alias/golden-source": key(source, oregon, "cust")},
		},
		Sites: map[distribution.Location]distribution.DestinationFacts{},
	}
	for _, account := range others {
		for _, region := range []string{tokyo, oregon} {
			at := distribution.Location{Account: account, Region: region}
			facts.Keys[at] = map[string]distribution.Key{"alias/golden-" + region: key(account, region, "own")}
			facts.Sites[at] = distribution.DestinationFacts{
				Identity: distribution.CallerIdentity{
					Account:   account,
					ARN:       "arn:aws:sts::" + account + ":assumed-role/golden-image-target/s",
					Partition: "aws",
				},
			}
		}
	}
	return req, facts
}

func image() distribution.Image {
	return distribution.Image{
		Image: &ec2types.Image{
			ImageId:            aws.String("ami-0aaaaaaaaaaaaaaaa"),
			Name:               aws.String("golden 1"),
			OwnerId:            aws.String(source),
			State:              ec2types.ImageStateAvailable,
			RootDeviceType:     ec2types.DeviceTypeEbs,
			RootDeviceName:     aws.String("/dev/xvda"),
			Architecture:       ec2types.ArchitectureValuesArm64,
			VirtualizationType: ec2types.VirtualizationTypeHvm,
			EnaSupport:         aws.Bool(true),
			Tags: []ec2types.Tag{
				{Key: aws.String("team"), Value: aws.String("platform")},
				{Key: aws.String("aws:x"), Value: aws.String("y")},
			},
			BlockDeviceMappings: []ec2types.BlockDeviceMapping{
				{
					DeviceName: aws.String("/dev/xvda"),
					Ebs:        &ec2types.EbsBlockDevice{SnapshotId: aws.String("snap-0a"), VolumeSize: aws.Int32(8)},
				},
				{
					DeviceName: aws.String("/dev/xvdc"),
					Ebs:        &ec2types.EbsBlockDevice{SnapshotId: aws.String("snap-0c"), VolumeSize: aws.Int32(20)},
				},
				{
					DeviceName: aws.String("/dev/xvdb"),
					Ebs:        &ec2types.EbsBlockDevice{SnapshotId: aws.String("snap-0b"), VolumeSize: aws.Int32(100)},
				},
			},
		},
		Snapshots: map[string]distribution.Snapshot{
			"snap-0a": snapshot("snap-0a", 8, keyARN(source, tokyo, "aws-ebs")),
			"snap-0b": snapshot("snap-0b", 100, keyARN(source, tokyo, "cust")),
			"snap-0c": snapshot("snap-0c", 20, ""),
		},
	}
}

func snapshot(id string, gib int32, key string) distribution.Snapshot {
	s := ec2types.Snapshot{
		SnapshotId: &id,
		VolumeSize: &gib,
		State:      ec2types.SnapshotStateCompleted,
		Encrypted:  aws.Bool(key != ""),
		OwnerId:    aws.String(source),
	}
	if key != "" {
		s.KmsKeyId = &key
	}
	return distribution.Snapshot{Snapshot: s}
}

func keyARN(account, region, name string) string {
	return fmt.Sprintf("arn:aws:kms:%s:%s:key/%s", region, account, name)
}

func key(account, region, name string) distribution.Key {
	return distribution.Key{Metadata: &kmstypes.KeyMetadata{
		Arn:        aws.String(keyARN(account, region, name)),
		KeyState:   kmstypes.KeyStateEnabled,
		KeyManager: kmstypes.KeyManagerTypeCustomer,
		KeySpec:    kmstypes.KeySpecSymmetricDefault,
		KeyUsage:   kmstypes.KeyUsageTypeEncryptDecrypt,
	}}
}

func managed(k distribution.Key) distribution.Key {
	k.Metadata.KeyManager = kmstypes.KeyManagerTypeAws
	return k
}

// The staged image that a share block shares stays, so its snapshots cost what the copies of a target cost. Staged
// copies that are deleted cost nothing.
func TestEstimate_sharedCopyStays(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*distribution.Request)
		stored int64
	}{
		"share alone": {func(r *distribution.Request) {
			r.Targets, r.Shares = nil, []distribution.Share{{Name: "friends", AccountIDs: []string{"777777777777"}}}
		}, 128},
		"one target": {func(r *distribution.Request) {
			r.Targets[0].AccountIDs, r.Targets[0].Regions = others[:1], []string{tokyo}
		}, 128},
	} {
		req, facts := world()
		test.change(&req)
		p := plan.Assess(req, facts).Decide()
		want := float64(test.stored) * distribution.USDPerGiBMonth
		stored := p.Estimate.GiBStored - p.Estimate.GiBStaged
		if stored != test.stored || p.Estimate.USDPerMonth() != want {
			t.Errorf("%s: got %d GiB for $%.2f a month, want %d for $%.2f", name, stored, p.Estimate.USDPerMonth(),
				test.stored, want)
		}
	}
}

func TestDecide_steps(t *testing.T) {
	holds := func(t *testing.T, p plan.Plan) {
		var out strings.Builder
		for _, s := range p.Steps {
			fmt.Fprintf(&out, "%-40s %s\n", s.Meta().ID, s)
		}
		fmt.Fprintf(&out, "%d copies, %d GiB stored, %d GiB between Regions, "+
			"%s\n", p.Estimate.Copies, p.Estimate.GiBStored, p.Estimate.GiBTransferred, p.Estimate.Takes)
		golden.Equal(t, "testdata/"+filepath.Base(t.Name())+".golden", out.String())
	}
	for name, change := range map[string]func(*distribution.Request, *distribution.Facts){
		"three volumes, three accounts, two Regions": func(*distribution.Request, *distribution.Facts) {},
		"no source key in the other Region: straight across": func(_ *distribution.Request, f *distribution.Facts) {
			f.Keys[distribution.Location{
				Account: source,
				Region:  oregon,
			}] = map[string]distribution.Key{"alias/golden-source": {}}
		},
		"one account in the other Region: straight, from what is staged for " +
			"others": func(r *distribution.Request, _ *distribution.Facts) {
			away := r.Targets[0]
			away.Name, away.AccountIDs, away.Regions = "away", others[:1], []string{oregon}
			r.Targets[0].AccountIDs, r.Targets[0].Regions = others[:1], []string{tokyo}
			r.Targets = append(r.Targets, away)
		},
		"into the source account: no stage, no share": func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].AccountIDs, r.Targets[0].Roles, r.Targets[0].Regions = []string{source}, nil, nil
			at := distribution.Location{Account: source, Region: tokyo}
			f.Sites[at] = distribution.DestinationFacts{Identity: f.Source}
			f.Keys[at]["alias/golden-"+tokyo] = key(source, tokyo, "own")
		},
		"by image: staged, shared, copied, deregistered": func(r *distribution.Request, _ *distribution.Facts) {
			r.Targets[0].Method = distribution.ByImage
		},
		"by image, under the key already: shared as it is": func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Method, r.Targets[0].Regions = distribution.ByImage, nil
			under(f, keyARN(source, tokyo, "cust"))
		},
		"by image into the source account: no stage, no share": func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].AccountIDs, r.Targets[0].Method = []string{source}, distribution.ByImage
			r.Targets[0].Roles, r.Targets[0].Regions = nil, nil
			at := distribution.Location{Account: source, Region: tokyo}
			f.Sites[at] = distribution.DestinationFacts{Identity: f.Source}
			f.Keys[at]["alias/golden-"+tokyo] = key(source, tokyo, "own")
		},
		"a name that is taken: freed when the copies are there": func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].AccountIDs, r.Targets[0].Regions, r.Targets[0].AMIName = others[:1], nil, "golden"
			r.Targets[0].Lifecycle.ForceDeregister, r.Targets[0].Lifecycle.ForceDeleteSnapshot = true, true
			taken(f, others[0])
		},
		"a name that is taken: freed right before the image is copied": func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].AccountIDs, r.Targets[0].Regions, r.Targets[0].AMIName = others[:1], nil, "golden"
			r.Targets[0].Lifecycle.ForceDeregister, r.Targets[0].Method = true, distribution.ByImage
			taken(f, others[0])
		},
		"fast launch of a Windows image": func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].AccountIDs, r.Targets[0].Regions = others[:1], nil
			r.Targets[0].Lifecycle.FastLaunch = &distribution.FastLaunch{TargetResourceCount: 10}
			f.Images[tokyo].Image.Platform = ec2types.PlatformValuesWindows
		},
		"both methods in a Region: the image alone is staged": func(r *distribution.Request, _ *distribution.Facts) {
			r.Targets[0].Regions = nil
			second := r.Targets[0]
			r.Targets[0].AccountIDs, second.AccountIDs = others[:1], others[1:2]
			second.Name, second.Method = "second", distribution.ByImage
			r.Targets = append(r.Targets, second)
		},
		"share and target: the staged image stays": func(r *distribution.Request, _ *distribution.Facts) {
			r.Targets[0].AccountIDs, r.Targets[0].Regions = others[:1], nil
			r.Shares = []distribution.Share{
				{
					Name:             "ours",
					AccountIDs:       []string{"777777777777"},
					OrganizationARNs: []string{"arn:aws:organizations::111111111111:organization/o-1234567890"},
				},
			}
		},
		"share alone: the image as it is": func(r *distribution.Request, f *distribution.Facts) {
			under(f, keyARN(source, tokyo, "cust"))
			r.Targets, r.Shares = nil, []distribution.Share{{Name: "ours", AccountIDs: []string{"777777777777"}}}
		},
		"shared already: not shared again, never unshared": func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Regions = nil
			s := f.Images[tokyo].Snapshots["snap-0b"]
			s.SharedWith = []string{"444444444444", "555555555555", "999999999999"}
			f.Images[tokyo].Snapshots["snap-0b"] = s
		},
	} {
		t.Run(strings.NewReplacer(" ", "-", ",", "", ":", "").Replace(name), func(t *testing.T) {
			req, facts := world()
			change(&req, &facts)
			p := plan.Assess(req, facts).Decide()
			for _, f := range p.Findings {
				if f.Level != distribution.Note {
					t.Errorf("finding: %+v", f)
				}
			}
			holds(t, p)
			inOrder(t, p.Steps)
		})
	}
}

// taken adds an image with the requested name to an account.
func taken(f *distribution.Facts, account string) {
	at := distribution.Location{Account: account, Region: tokyo}
	s := f.Sites[at]
	s.NameUsed = &ec2types.Image{
		ImageId:                  aws.String("ami-0bbbbbbbbbbbbbbbb"),
		DeregistrationProtection: aws.String("disabled"),
	}
	f.Sites[at] = s
}

// under encrypts all snapshots of the source image with one key.
func under(f *distribution.Facts, key string) {
	for id, s := range f.Images[tokyo].Snapshots {
		f.Images[tokyo].Snapshots[id] = snapshot(id, aws.ToInt32(s.VolumeSize), key)
	}
}

// inOrder checks that every step comes after the steps that it depends on, and depends on the steps that it refers to.
func inOrder(t *testing.T, steps []step.Step) {
	t.Helper()
	seen := map[distribution.StepID]bool{}
	for _, s := range steps {
		h := s.Meta()
		if seen[h.ID] {
			t.Errorf("two steps %s", h.ID)
		}
		for _, waited := range slices.Concat(h.DependsOn, h.RunsAfter) {
			if !seen[waited] {
				t.Errorf("%s waits for %s, which does not stand before it", h.ID, waited)
			}
		}
		seen[h.ID] = true
	}
}

// TestDecide_refusals checks every error of a plan. The golden file holds the texts.
func TestDecide_refusals(t *testing.T) {
	at := distribution.Location{Account: "999999999999", Region: tokyo}
	home := distribution.Location{Account: source, Region: tokyo}
	ownKey := func(change func(*kmstypes.KeyMetadata)) func(*distribution.Request, *distribution.Facts) {
		return func(_ *distribution.Request, f *distribution.Facts) {
			change(f.Keys[at]["alias/golden-"+tokyo].Metadata)
		}
	}
	sourceImage := func(change func(*ec2types.Image)) func(*distribution.Request, *distribution.Facts) {
		return func(_ *distribution.Request, f *distribution.Facts) { change(f.Images[tokyo].Image) }
	}
	sourceSnapshot := func(change func(*ec2types.Snapshot)) func(*distribution.Request, *distribution.Facts) {
		return func(_ *distribution.Request, f *distribution.Facts) {
			s := f.Images[tokyo].Snapshots["snap-0a"]
			change(&s.Snapshot)
			f.Images[tokyo].Snapshots["snap-0a"] = s
		}
	}
	site := func(change func(*distribution.DestinationFacts)) func(*distribution.Request, *distribution.Facts) {
		return func(_ *distribution.Request, f *distribution.Facts) {
			s := f.Sites[at]
			change(&s)
			f.Sites[at] = s
		}
	}
	cases := []struct {
		name   string
		change func(*distribution.Request, *distribution.Facts)
	}{
		{"no target", func(r *distribution.Request, _ *distribution.Facts) { r.Targets = nil }},
		{"no image", func(r *distribution.Request, _ *distribution.Facts) { r.Images = nil }},
		{
			"account and Region named twice",
			func(r *distribution.Request, _ *distribution.Facts) { r.Targets = append(r.Targets, r.Targets[0]) },
		},
		{"no credentials for the target", func(r *distribution.Request, _ *distribution.Facts) { r.Targets[0].Roles = nil }},
		{"role that cannot be assumed", site(func(s *distribution.DestinationFacts) {
			*s = distribution.DestinationFacts{
				Err: &distribution.APIError{
					Operation: "sts:AssumeRole",
					Status:    403,
					Code:      "AccessDenied",
					Message:   "User is not authorized",
				},
			}
		})},
		{"Region not enabled", site(func(s *distribution.DestinationFacts) {
			s.Err = &distribution.APIError{
				Operation: "ec2:DescribeImages",
				Status:    401,
				Code:      "AuthFailure",
				Message:   "AWS was not able to validate the provided access credentials",
			}
		})},
		{"a Region that does not exist", func(r *distribution.Request, f *distribution.Facts) {
			f.Regions, r.Targets[0].Regions = []string{tokyo, oregon}, []string{"ap-northeast-11"}
		}},
		{"role of another account", site(func(s *distribution.DestinationFacts) {
			*s = distribution.DestinationFacts{Err: &distribution.APIError{Operation: "sts:AssumeRole", Message: "they belong " +
				"to account 222222222222"}}
		})},
		{"name taken", site(func(s *distribution.DestinationFacts) {
			s.NameUsed = &ec2types.Image{ImageId: aws.String("ami-0bbbbbbbbbbbbbbbb")}
		})},
		{"name taken by the source image", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].AMIName, r.Targets[0].Lifecycle.ForceDeregister = "golden", true
			s := f.Sites[at]
			s.NameUsed = &ec2types.Image{ImageId: aws.String("ami-0aaaaaaaaaaaaaaaa")}
			f.Sites[at] = s
		}},
		{"name taken by a protected image", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].AMIName, r.Targets[0].Lifecycle.ForceDeregister = "golden", true
			s := f.Sites[at]
			s.NameUsed = &ec2types.Image{
				ImageId:                  aws.String("ami-0bbbbbbbbbbbbbbbb"),
				DeregistrationProtection: aws.String("disabled after 2026-11-21T00:00:00Z"),
			}
			f.Sites[at] = s
		}},
		{
			"name taken by an image with our tags that is not provably ours",
			func(r *distribution.Request, f *distribution.Facts) {
				r.Targets[0].AMIName, r.Targets[0].Lifecycle.ForceDeregister = "golden", true
				taken := ec2types.Image{
					ImageId: aws.String("ami-0bbbbbbbbbbbbbbbb"), OwnerId: aws.String(at.Account), Name: aws.String("golden"),
					Tags: []ec2types.Tag{{Key: aws.String(provenance.TagSource), Value: aws.String(ownSource.String())}},
				}
				s := f.Sites[at]
				s.NameUsed, f.Earlier = &taken, map[distribution.Location]distribution.ExistingResources{
					at: {Images: []ec2types.Image{taken}},
				}
				f.Sites[at] = s
			},
		},
		{
			"name that AWS does not take",
			func(r *distribution.Request, _ *distribution.Facts) { r.Targets[0].AMIName = "golden?" },
		},
		{"template that fails", func(r *distribution.Request, _ *distribution.Facts) {
			r.Targets[0].AMIName = "{{ .Nothing }}"
		}},
		{"51 tags", func(r *distribution.Request, _ *distribution.Facts) {
			r.Targets[0].Tags = map[string]distribution.Text{}
			for i := range 48 {
				r.Targets[0].Tags[fmt.Sprint("k", i)] = "v"
			}
		}},
		{"target key missing", func(_ *distribution.Request, f *distribution.Facts) {
			f.Keys[at] = map[string]distribution.Key{
				"alias/golden-" + tokyo: {
					Err: &distribution.APIError{
						Operation: "kms:DescribeKey",
						Status:    400,
						Code:      "NotFoundException",
						Message:   "Alias is not found.",
					},
				},
			}
		}},
		{"target key disabled", ownKey(func(m *kmstypes.KeyMetadata) { m.KeyState = kmstypes.KeyStateDisabled })},
		{"target key pending import", ownKey(func(m *kmstypes.KeyMetadata) { m.KeyState = kmstypes.KeyStatePendingImport })},
		{
			"target key pending deletion",
			ownKey(func(m *kmstypes.KeyMetadata) { m.KeyState = kmstypes.KeyStatePendingDeletion }),
		},
		{"target key whose material expires soon", ownKey(func(m *kmstypes.KeyMetadata) {
			m.ValidTo = aws.Time(time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC))
		})},
		{"source key whose material expires soon", func(_ *distribution.Request, f *distribution.Facts) {
			f.Keys[home]["alias/golden-source"].Metadata.ValidTo = aws.Time(time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC))
		}},
		{"target key asymmetric", ownKey(func(m *kmstypes.KeyMetadata) { m.KeySpec = kmstypes.KeySpecRsa2048 })},
		{"target key of another Region", func(r *distribution.Request, _ *distribution.Facts) {
			r.Targets[0].KMSKeyID = distribution.Text(keyARN("999999999999", oregon, "own"))
		}},
		{"target key that may not be described", func(r *distribution.Request, f *distribution.Facts) {
			arn := keyARN("222222222222", tokyo, "third")
			r.Targets[0].KMSKeyID = distribution.Text(arn)
			f.Keys[at][arn] = distribution.Key{
				Err: &distribution.APIError{
					Operation: "kms:DescribeKey",
					Status:    400,
					Code:      "AccessDeniedException",
					Message:   "no",
				},
			}
		}},
		{
			"no kms_key_id while a snapshot is under aws/ebs",
			func(r *distribution.Request, _ *distribution.Facts) { r.KMSKeyID = "" },
		},
		{"source key that AWS manages", func(r *distribution.Request, f *distribution.Facts) {
			r.KMSKeyID = "alias/aws/ebs"
			f.Keys[home]["alias/aws/ebs"] = managed(key(source, tokyo, "aws-ebs"))
		}},
		{
			"source key of another Region",
			func(r *distribution.Request, _ *distribution.Facts) { r.KMSKeyID = keyARN(source, oregon, "cust") },
		},
		{"image gone", func(_ *distribution.Request, f *distribution.Facts) { f.Images[tokyo] = distribution.Image{} }},
		{"image gone, with the credentials of the target", func(r *distribution.Request, f *distribution.Facts) {
			f.Images[tokyo] = distribution.Image{}
			f.Source.Account = r.Targets[0].AccountIDs[0]
		}},
		{"image pending", sourceImage(func(i *ec2types.Image) { i.State = ec2types.ImageStatePending })},
		{"image failed", sourceImage(func(i *ec2types.Image) {
			i.State, i.StateReason = ec2types.ImageStateFailed, &ec2types.StateReason{Message: aws.String("Copy image failed " +
				"with an internal error")}
		})},
		{"image disabled", sourceImage(func(i *ec2types.Image) { i.State = ec2types.ImageStateDisabled })},
		{
			"image instance-store",
			sourceImage(func(i *ec2types.Image) { i.RootDeviceType = ec2types.DeviceTypeInstanceStore }),
		},
		{"image of another account", sourceImage(func(i *ec2types.Image) { i.OwnerId = aws.String("222222222222") })},
		{"image with a Marketplace code", sourceImage(func(i *ec2types.Image) {
			i.ProductCodes = []ec2types.ProductCode{
				{ProductCodeId: aws.String("x"), ProductCodeType: ec2types.ProductCodeValuesMarketplace},
			}
		})},
		{"image of a billed platform, by snapshots", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Method = distribution.BySnapshot
			i := f.Images[tokyo].Image
			i.PlatformDetails, i.UsageOperation = aws.String("Windows"), aws.String("RunInstances:0002")
		}},
		{"image with TPM and uefi-preferred, by snapshots", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Method = distribution.BySnapshot
			i := f.Images[tokyo].Image
			i.TpmSupport, i.BootMode = ec2types.TpmSupportValuesV20, ec2types.BootModeValuesUefiPreferred
		}},
		{"kernel in another Region, by snapshots", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Method, r.Targets[0].Regions = distribution.BySnapshot, []string{oregon}
			f.Images[tokyo].Image.KernelId = aws.String("aki-12345678")
		}},
		{"kernel in another Region", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Regions = []string{oregon}
			f.Images[tokyo].Image.KernelId = aws.String("aki-12345678")
		}},
		{"strict, and watermarks by snapshots", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Method, r.Strict = distribution.BySnapshot, true
			f.Images[tokyo].Image.ImageWatermarks = []ec2types.ImageWatermark{
				{WatermarkKey: aws.String("111111111111:golden")},
			}
		}},
		{"strict, and a date of deprecation", func(r *distribution.Request, f *distribution.Facts) {
			r.Strict = true
			f.Images[tokyo].Image.DeprecationTime = aws.String("2027-01-01T00:00:00.000Z")
		}},
		{"more than 1000 entities", func(r *distribution.Request, _ *distribution.Facts) {
			r.Shares = []distribution.Share{{Name: "ours"}}
			for i := range 1001 {
				r.Shares[0].AccountIDs = append(r.Shares[0].AccountIDs, fmt.Sprintf("%012d", i))
			}
		}},
		{"a date of deprecation that has passed", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Lifecycle.DeprecateAt = f.At.Add(-time.Hour)
		}},
		{"fast launch of an image that is not Windows", func(r *distribution.Request, _ *distribution.Facts) {
			r.Targets[0].Lifecycle.FastLaunch = &distribution.FastLaunch{}
		}},
		{"users of an image whose key AWS manages", func(r *distribution.Request, f *distribution.Facts) {
			r.Targets[0].Lifecycle.Users.Accounts = []string{"777777777777"}
			f.Keys[at]["alias/golden-"+tokyo] = managed(f.Keys[at]["alias/golden-"+tokyo])
		}},
		{"share, and a snapshot is under aws/ebs", func(r *distribution.Request, _ *distribution.Facts) {
			r.Targets, r.KMSKeyID, r.Shares = nil, "", []distribution.Share{{Name: "ours", AccountIDs: []string{"777777777777"}}}
		}},
		{"snapshot in error", sourceSnapshot(func(s *ec2types.Snapshot) {
			s.State, s.StateMessage = ec2types.SnapshotStateError, aws.String("Given key ID is not accessible")
		})},
		{"snapshot archived", sourceSnapshot(func(s *ec2types.Snapshot) { s.StorageTier = ec2types.StorageTierArchive })},
		{"snapshot on an Outpost", sourceSnapshot(func(s *ec2types.Snapshot) {
			s.OutpostArn = aws.String("arn:aws:outposts:ap-northeast-1:111111111111:outpost/op-1")
		})},
		{
			"snapshot gone",
			func(_ *distribution.Request, f *distribution.Facts) { delete(f.Images[tokyo].Snapshots, "snap-0a") },
		},
	}
	var out strings.Builder
	for _, c := range cases {
		req, facts := world()
		req.Targets[0].AccountIDs, req.Targets[0].Regions = []string{"999999999999"}, nil
		c.change(&req, &facts)
		p := plan.Assess(req, facts).Decide()
		if len(p.Findings) == 0 || p.Refused() == (len(p.Steps) > 0) {
			t.Errorf("%s: %d findings, %d steps", c.name, len(p.Findings), len(p.Steps))
		}
		fmt.Fprintf(&out, "# %s\n", c.name)
		for _, f := range p.Findings {
			fmt.Fprint(&out, written(f))
		}
	}
	golden.Equal(t, "testdata/refusals.golden", out.String())
}

func TestDecide_optionalTargets(t *testing.T) {
	for _, c := range []struct {
		name     string
		refused  int
		optional bool
		max      int
		goesOn   bool
	}{
		{"all is well", 0, false, 0, true},
		{"a required destination is refused", 1, false, 0, false},
		{"an optional one", 1, true, 0, true},
		{"as many as may fail", 2, false, 2, true},
		{"one more", 2, false, 1, false},
		{"all of an optional target", 3, true, 0, false},
	} {
		req, facts := world()
		req.Targets[0].Regions, req.Targets[0].Optional, req.MaxFailedDestinations = nil, c.optional, c.max
		for _, account := range others[:c.refused] {
			facts.Sites[distribution.Location{Account: account, Region: tokyo}] = distribution.DestinationFacts{
				Err: &distribution.APIError{Operation: "sts:AssumeRole", Code: "AccessDenied"},
			}
		}
		p := plan.Assess(req, facts).Decide()
		if p.Refused() == c.goesOn || (len(p.Steps) > 0) != c.goesOn {
			t.Errorf("%s: refused %v with %d steps", c.name, p.Refused(), len(p.Steps))
		}
		for _, s := range p.Steps {
			if at := s.Meta().Destination; at != (distribution.Location{}) && facts.Sites[at].Err != nil {
				t.Errorf("%s: step %s for a destination that is refused", c.name, s.Meta().ID)
			}
		}
		left := 0
		for _, d := range p.Destinations {
			if d.LeftOut {
				left++
			}
		}
		if left != c.refused {
			t.Errorf("%s: %d destinations left out, want %d", c.name, left, c.refused)
		}
	}
}

// The source account may be denied access to a target's Region, because it needs nothing there.
func TestDecide_regionDeniedToSource(t *testing.T) {
	req, facts := world()
	at := distribution.Location{Account: source, Region: oregon}
	facts.Unseen = blinded(at, "ec2:DescribeSnapshots")
	p := plan.Assess(req, facts).Decide()
	if p.Refused() || !slices.ContainsFunc(
		p.Findings,
		func(f distribution.Finding) bool { return f.Location == at && f.Level == distribution.Warning },
	) {
		t.Errorf("%+v", p.Findings)
	}
	for _, s := range p.Steps {
		if s.Meta().Location == at {
			t.Errorf("%s", s)
		}
	}
	if p := plan.Assess(req, facts).CleanUp(); p.Refused() || facts.HasHiddenResources() {
		t.Errorf("a clean-up needs it: %+v", p.Findings)
	}
	served := req
	served.Targets = append(
		slices.Clone(req.Targets),
		distribution.Target{
			Name:       "own",
			AccountIDs: []string{source},
			Regions:    []string{oregon},
			KMSKeyID:   "alias/golden-source",
		},
	)
	facts.Sites[at] = distribution.DestinationFacts{Identity: facts.Source}
	isOwn := func(f distribution.Finding) bool {
		return f.Location == at && strings.HasPrefix(f.Field, `target "own"`)
	}
	if p := plan.Assess(served, facts).Decide(); !p.Refused() || !slices.ContainsFunc(p.Findings, isOwn) {
		t.Errorf("the source account is to have the image there, where nothing can be seen: %+v", p.Findings)
	}
	facts.Unseen[0].At.Region = tokyo // where the image is
	if !plan.Assess(req, facts).Decide().Refused() {
		t.Error("what runs have left of the image is not known, and something is done")
	}
}

// A key policy may permit the use of the key only through EC2 (rule 3.2.4), so DescribeKey is denied. The key can still
// be used if the template names it by its ARN.
func TestDecide_keyOnlyViaEC2(t *testing.T) {
	// the KmsKeyId of DescribeSnapshots is the ARN of the key, never the ARN of its alias
	aliasARN := "arn:aws:kms:" + tokyo + ":" + source + ":alias/golden-source"
	for asked, refused := range map[string]bool{
		keyARN(source, tokyo, "cust"): false,
		"alias/golden-source":         true,
		aliasARN:                      true,
	} {
		req, facts := world()
		req.Targets[0].Regions, req.KMSKeyID = []string{tokyo}, asked
		facts.Keys[distribution.Location{Account: source, Region: tokyo}][asked] = distribution.Key{
			Err: &distribution.APIError{Operation: "kms:DescribeKey", Code: "AccessDeniedException"},
		}
		p := plan.Assess(req, facts).Decide()
		if p.Refused() != refused {
			t.Errorf("%s: %+v", asked, p.Findings)
		}
		for _, s := range p.Steps {
			if c, is := s.(*step.CopySnapshot); is && c.Destination == (distribution.Location{}) && c.KeyARN != asked {
				t.Errorf("staged under %s", c.KeyARN)
			}
		}
	}
}

// A run stores the accounts with existing permissions in tags of the snapshot. A resource has at most fifty tags, not
// counting AWS's own.
func TestBaseline_tooManyAccounts(t *testing.T) {
	for name, c := range map[string]struct {
		snapshot string
		accounts int
		with     []string // accounts, beside
		tags     []string
		refused  bool
	}{
		"they fit":                                   {"snap-0b", 50, nil, nil, false},
		"they do not":                                {"snap-0b", 60, nil, nil, true},
		"not beside the user's own tags":             {"snap-0b", 50, nil, numbered("team", 48), true},
		"AWS's own tags do not count":                {"snap-0b", 50, nil, numbered("aws:team", 48), false},
		"of a staged copy nothing is remembered":     {"snap-0c", 60, nil, nil, false},
		"who may use it already is given nothing":    {"snap-0b", 60, others, nil, false},
		"but of three who copy, one may not already": {"snap-0b", 60, others[1:], nil, true},
	} {
		req, facts := world()
		s := facts.Images[tokyo].Snapshots[c.snapshot]
		s.SharedWith = slices.Clone(c.with)
		for i := range c.accounts {
			s.SharedWith = append(s.SharedWith, fmt.Sprint(500000000000+i))
		}
		for _, tag := range c.tags {
			s.Tags = append(s.Tags, ec2types.Tag{Key: &tag, Value: aws.String("x")})
		}
		facts.Images[tokyo].Snapshots[c.snapshot] = s
		if p := plan.Assess(req, facts).Decide(); p.Refused() != c.refused {
			t.Errorf("%s: %+v", name, p.Findings)
		}
	}
}

// numbered returns n names with a common prefix.
func numbered(name string, n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(name, i))
	}
	return all
}

// written returns a finding in the form of the golden files.
func written(f distribution.Finding) string {
	text := fmt.Sprintf(
		"%s %s [%s] %s: %s\n  because: %s\n",
		f.Level,
		f.Field,
		f.Reference,
		f.Location,
		f.Summary,
		f.Detail,
	)
	if f.Remediation != "" {
		text += "  next: " + f.Remediation + "\n"
	}
	return text
}
