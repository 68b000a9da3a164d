// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// everyStep returns the steps of plans that use every option between them. The image needs every kind of step: one of
// its volumes must be staged, and another can be shared directly.
func everyStep(s Setup) []step.Step {
	var steps []step.Step
	requests, facts := everyOption(s)
	for _, image := range requests[0].Images {
		at := distribution.Location{Account: s.SourceAccount, Region: image.Region}
		steps = append(steps,
			&step.EnableSourceProtection{Base: step.Base{Location: at}, ImageID: image.ImageID},
			&step.DisableSourceProtection{Base: step.Base{Location: at}, ImageID: image.ImageID})
	}
	for _, region := range s.regions() {
		for _, target := range s.Targets {
			steps = append(steps, stepsAt(s, distribution.Location{Account: target, Region: region})...)
		}
		if s.with("source_retention") {
			at := distribution.Location{Account: s.SourceAccount, Region: region}
			steps = append(
				steps,
				&step.RetireSource{Base: step.Base{Location: at}, ImageID: "*"},
				&step.RetireSource{Base: step.Base{Location: at}, ImageID: "*", Disable: true},
			)
		}
	}
	for _, req := range requests {
		p := plan.Assess(req, facts).Decide()
		if p.Refused() {
			panic(fmt.Sprintf("no plan: %+v", p.Findings)) // cannot happen, because this file makes the facts and requests
		}
		steps = append(steps, p.Steps...)
	}
	return steps
}

// stepsAt returns the steps in a target that no plan here has: those of resumed runs, of older releases and of
// rollbacks.
func stepsAt(s Setup, at distribution.Location) []step.Step {
	base := step.Base{Location: at}
	steps := []step.Step{&step.DeleteSnapshot{Base: base}, &step.DeregisterImage{Base: base}}
	if s.with("retention") {
		steps = append(steps, &step.DeleteRelease{Base: base})
	}
	if s.with("retention.disable_releases") {
		steps = append(steps, &step.DeleteRelease{Base: base, Disable: true})
	}
	if s.with("mode = rollback") {
		steps = append(steps, &step.VerifyRelease{Base: base})
	}
	return steps
}

// publish adds the options of a target that let other accounts and services use its image.
func publish(s Setup, target *distribution.Target) {
	if s.with("kms_grant") {
		target.Grants = []distribution.Grant{{}}
	}
	if s.with("ssm_parameter") {
		target.Parameters = []distribution.Parameter{
			s.parameter(),
			{
				Name:      distribution.Text(s.Parameter + "-secret"),
				Type:      distribution.SecureString,
				DataType:  "text",
				KeyID:     distribution.Text(s.TargetAlias),
				Overwrite: true,
			},
		}
	}
	if s.with("launch_template") {
		target.Templates = []distribution.LaunchTemplate{
			{Template: distribution.Text(s.Template), Source: "$Latest", SetDefault: true},
		}
	}
}

// parameter returns a parameter that names the images.
func (s Setup) parameter() distribution.Parameter {
	return distribution.Parameter{
		Name:      distribution.Text(s.Parameter),
		Type:      "String",
		DataType:  distribution.ImageParameter,
		Tags:      map[string]distribution.Text{"team": "platform"},
		Overwrite: true,
	}
}

// retain adds the options that remove older releases.
func retain(s Setup, req *distribution.Request) {
	if s.with("retention") {
		req.ImageFamily, req.Targets[0].Retention.Releases = "golden", 1
	}
	if s.with("source_retention") {
		req.ImageFamily, req.SourceRetention.Releases = "golden", 1
	}
}

// configure adds the options of a target that change its image.
func configure(s Setup, target *distribution.Target) {
	if s.with("launch_check") {
		target.LaunchCheck = &distribution.LaunchCheck{
			InstanceType:  "t3.nano",
			SubnetFilters: map[string]string{"default-for-az": "true"},
		}
	}
	if s.with("ami_users") {
		target.Lifecycle.Users.Accounts = s.Users
	}
	if s.with("license_configuration_arns") {
		target.Licenses = []distribution.Text{"arn:{{ .Partition }}:license-manager:{{ .Region }}:{{ .AccountId " +
			"}}:license-configuration:lic-0"}
	}
	if s.with("deprecate_at") {
		target.Lifecycle.DeprecateAt = time.Time{}.AddDate(0, 0, 90) // after the time of the facts
	}
	if s.with("deregistration_protection") {
		target.Lifecycle.Protection = &distribution.Protection{}
	}
	if s.with("watermarks") {
		target.Watermarks = []string{"approved"}
	}
}

// share returns a share block that shares with the setup's user accounts and creates a grant in each.
func (s Setup) share() distribution.Share {
	share := distribution.Share{
		Name:       "share",
		AccountIDs: s.Users,
		Grants:     []distribution.Grant{{}},
		Roles:      []distribution.Role{{RoleName: distribution.Text(s.TargetRole)}},
	}
	if s.with("share.ssm_parameter") {
		share.Parameters = []distribution.Parameter{s.parameter()}
	}
	return share
}

// everyOption returns requests that use all options between them. Each has images with its own name.
func everyOption(s Setup) ([]distribution.Request, distribution.Facts) {
	const sourceAlias, staged, shared = "alias/source", "snap-0aaaaaaaaaaaaaaaa", "snap-0bbbbbbbbbbbbbbbb"
	home := s.home()
	source, other := s.sourceKeyOf(home.Region), s.other(home)
	req := distribution.Request{
		Images:   []distribution.SourceImage{{Region: home.Region, ImageID: "ami-0aaaaaaaaaaaaaaaa"}},
		KMSKeyID: sourceAlias,
		TestCopy: aws.Bool(s.with("test_copy")),
		Targets: []distribution.Target{{
			Name: "every option", AccountIDs: s.Targets, Regions: s.regions(), KMSKeyID: distribution.Text(s.TargetAlias),
			Roles: []distribution.Role{{RoleName: distribution.Text(s.TargetRole)}},
		}},
		RunID: "run", Build: distribution.Build{Name: "golden", Region: home.Region},
	}
	target := &req.Targets[0]
	retain(s, &req)
	if s.with("run_tags") {
		req.RunTags = map[string]distribution.Text{"purpose": "distribution"}
	}
	configure(s, target)
	publish(s, target)

	requests := []distribution.Request{req}
	if s.with("copy_method = image") {
		requests = append(requests, named(req, "by image"))
		requests[len(requests)-1].Targets[0].Method = distribution.ByImage
		if s.with("watermarks") { // CopyImage keeps those of the source image
			requests[len(requests)-1].Watermarks = []string{"golden"}
		}
	}
	if s.with("source_key_access = grant") {
		requests = append(requests, named(req, "by grant"))
		requests[len(requests)-1].SourceKeyAccess = distribution.ByGrant
	}
	platform := ec2types.PlatformValues("")
	if s.with("fast_launch") {
		requests = append(requests, named(req, "windows"))
		requests[len(requests)-1].Targets[0].Lifecycle.FastLaunch = &distribution.FastLaunch{}
		platform = ec2types.PlatformValuesWindows
	}
	if s.with("share") || s.with("share.ssm_parameter") { // in a request of its own, because it stages the whole image
		requests = append(requests, named(req, "shared"))
		requests[len(requests)-1].Shares = []distribution.Share{s.share()}
	}
	if s.with("watermarks") && !s.with("copy_method = image") {
		requests = append(requests, named(req, "watermarked"))
		requests[len(requests)-1].Watermarks = []string{"golden"}
	}
	facts := distribution.Facts{
		Source: distribution.CallerIdentity{Account: s.SourceAccount, ARN: s.buildRole(), Partition: s.partition()},
		Images: map[string]distribution.Image{home.Region: {
			Image: &ec2types.Image{
				ImageId: aws.String(
					req.Images[0].ImageID,
				),
				Name:               aws.String("golden"),
				OwnerId:            aws.String(s.SourceAccount),
				State:              ec2types.ImageStateAvailable,
				RootDeviceType:     ec2types.DeviceTypeEbs,
				RootDeviceName:     aws.String("/dev/xvda"),
				VirtualizationType: ec2types.VirtualizationTypeHvm,
				Platform:           platform,
				BlockDeviceMappings: []ec2types.BlockDeviceMapping{
					{
						DeviceName: aws.String("/dev/xvda"),
						Ebs:        &ec2types.EbsBlockDevice{SnapshotId: aws.String(staged), VolumeSize: aws.Int32(8)},
					},
					{
						DeviceName: aws.String("/dev/xvdb"),
						Ebs:        &ec2types.EbsBlockDevice{SnapshotId: aws.String(shared), VolumeSize: aws.Int32(8)},
					},
				},
			},
			UEFIData: "AA==", Keys: provenance.SigningKeys{provenance.NewSigningKey(time.Unix(0, 0))},
			Snapshots: map[string]distribution.Snapshot{staged: s.snapshot(staged, other), shared: s.snapshot(shared, source)},
		}},
		Keys:  map[distribution.Location]map[string]distribution.Key{},
		Sites: map[distribution.Location]distribution.DestinationFacts{},
	}
	for _, region := range s.regions() {
		for _, user := range s.Users {
			facts.Sites[distribution.Location{Account: user, Region: region}] = distribution.DestinationFacts{
				Identity: distribution.CallerIdentity{Account: user, ARN: s.roleARN(user, s.TargetRole), Partition: s.partition()},
			}
		}
		at := distribution.Location{Account: s.SourceAccount, Region: region}
		own := s.sourceKeyOf(region)
		facts.Keys[at] = map[string]distribution.Key{sourceAlias: key(own), own: key(own), other: key(other)}
		image := facts.Images[home.Region]
		image.Snapshots = map[string]distribution.Snapshot{staged: s.snapshot(staged, other), shared: s.snapshot(shared, own)}
		facts.Images[region] = image
		for _, target := range s.Targets {
			at := distribution.Location{Account: target, Region: region}
			facts.Sites[at] = distribution.DestinationFacts{
				Subnet: distribution.SubnetFacts{ID: "*"},
				Identity: distribution.CallerIdentity{
					Account:   target,
					ARN:       s.roleARN(target, s.TargetRole),
					Partition: s.partition(),
				},
				PublicationFacts: distribution.PublicationFacts{
					Templates: map[string]distribution.LaunchTemplateFacts{s.Template: {ID: "*", Source: 1, Default: 1}},
				},
			}
			facts.Keys[at] = map[string]distribution.Key{
				s.TargetAlias: key("arn:" + s.partition() + ":kms:" + region + ":" + target + ":key/own"),
			}
		}
	}
	return s.inEveryRegion(requests), facts
}

// inEveryRegion adds the same requests with an image in each Region of a source key. A single account copies directly
// from the Region of the build, so that no other request uses the keys of the other Regions.
func (s Setup) inEveryRegion(requests []distribution.Request) []distribution.Request {
	if len(s.regions()) == 1 {
		return requests
	}
	for _, req := range slices.Clone(requests) {
		image := req.Images[0]
		req = named(req, req.Targets[0].AMIName+" in every Region")
		req.Images = nil
		for _, region := range s.regions() {
			req.Images = append(req.Images, distribution.SourceImage{Region: region, ImageID: image.ImageID})
		}
		requests = append(requests, req)
	}
	return requests
}

// named returns a request whose images have another name.
func named(req distribution.Request, name distribution.Text) distribution.Request {
	req.Targets = slices.Clone(req.Targets)
	req.Targets[0].AMIName = name
	return req
}

// other returns the ARN of another key in an account and Region. It encrypts the builder's volumes.
func (s Setup) other(at distribution.Location) string {
	return "arn:" + s.partition() + ":kms:" + at.Region + ":" + at.Account + ":key/other"
}

func (s Setup) snapshot(id, key string) distribution.Snapshot {
	return distribution.Snapshot{Snapshot: ec2types.Snapshot{
		SnapshotId: &id, OwnerId: &s.SourceAccount, VolumeSize: aws.Int32(8), State: ec2types.SnapshotStateCompleted,
		Encrypted: aws.Bool(true), KmsKeyId: &key,
	}}
}

func key(arn string) distribution.Key {
	return distribution.Key{Metadata: &kmstypes.KeyMetadata{
		Arn: &arn, KeyState: kmstypes.KeyStateEnabled, KeyManager: kmstypes.KeyManagerTypeCustomer,
		KeySpec: kmstypes.KeySpecSymmetricDefault, KeyUsage: kmstypes.KeyUsageTypeEncryptDecrypt,
	}}
}

func requests(s Setup) []distribution.Request {
	all, _ := everyOption(s)
	return all
}
