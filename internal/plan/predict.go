// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Predict tells the images that amazon-ebs is going to make, by Region, and what stands against it. It launches an
// instance, takes an image of it, and copies that into the other Regions; with encrypt_boot into the build's own Region
// as well, from an image that it then throws away. No image is told where AWS or the builder would refuse one.
func Predict(
	req distribution.Request,
	facts distribution.Facts,
) (map[string]distribution.Image, []distribution.Finding) {
	p := prediction{
		req:   req,
		facts: facts,
		home:  distribution.Location{Account: facts.Source.Account, Region: req.Build.Region},
	}
	if p.validate(); len(p.findings) > 0 {
		return nil, p.findings
	}
	volumes := p.launch()
	images := map[string]distribution.Image{}
	for _, wanted := range req.Images {
		if of := p.copy(volumes, distribution.Location{Account: facts.Source.Account, Region: wanted.Region}); of != nil {
			images[wanted.Region] = p.image(of)
		}
	}
	if slices.ContainsFunc(p.findings, func(f distribution.Finding) bool { return f.Level == distribution.Refused }) {
		return nil, p.findings
	}
	return images, p.findings
}

type prediction struct {
	req      distribution.Request
	facts    distribution.Facts
	home     distribution.Location // where it is built
	findings []distribution.Finding
}

// born is a volume, or the snapshot of one, as it comes out.
type born struct {
	device string
	gib    int32
	out    outcome
}

// outcome is how something comes to be encrypted.
type outcome struct {
	encrypted bool
	key       string // ARN; "" when it is not encrypted, and where the key is not known
	why       string
	rule      string
}

func (p *prediction) refuse(rule, option, summary, because, next string) {
	p.findings = append(p.findings, distribution.Finding{
		Level:       distribution.Refused,
		Reference:   rule,
		Field:       "build: " + option,
		Location:    p.home,
		Summary:     summary,
		Detail:      because,
		Remediation: next,
	})
}

// troubles are the reasons why nothing can be told: no image to start from, keys that cannot be used, options that
// amazon-ebs refuses.
func (p *prediction) validate() {
	intent := p.req.Intent
	switch {
	case p.facts.Base.Base == nil && p.facts.BaseMatches > 1:
		p.refuse(
			"2.5.2",
			"source_ami_filter",
			fmt.Sprintf("%d images match", p.facts.BaseMatches),
			"amazon-ebs takes one",
			"set most_recent = true, or filter for one",
		)
	case p.facts.Base.Base == nil:
		p.refuse(
			"2.2.12",
			cmp.Or(given(intent.BaseAMI, "source_ami"), "source_ami_filter"),
			"there is no image to start from",
			"AWS shows none to the source credentials",
			"check id, owners, filters, Region and credentials",
		)
	}
	boot := intent.EncryptBoot != nil && *intent.EncryptBoot
	if !boot && (intent.KMSKeyID != "" || len(intent.RegionKMSKeyIDs) > 0) {
		p.refuse(
			"1.4.7",
			"kms_key_id",
			"amazon-ebs refuses a key without encrypt_boot",
			"kms_key_id and region_kms_key_ids encrypt the copy that encrypt_boot makes",
			"set encrypt_boot = true, or leave the keys to launch_block_device_mappings",
		)
		return
	}
	for _, wanted := range p.req.Images {
		at := distribution.Location{Account: p.home.Account, Region: wanted.Region}
		p.key(at, "kms_key_id", p.bootKey(at))
	}
	for _, v := range intent.Launch {
		p.key(p.home, fmt.Sprintf("launch_block_device_mappings %s: kms_key_id", v.Device), v.KMSKeyID)
	}
}

func given(value, option string) string {
	if value == "" {
		return ""
	}
	return option
}

// key judges a key that the builder names at a place.
func (p *prediction) key(at distribution.Location, option, asked string) {
	if asked == "" {
		return
	}
	key := p.facts.Keys[at][asked]
	if why, rule := keyUnusableReason(key); why != "" && !key.IsHidden() {
		p.refuse(rule, option, fmt.Sprintf("the key %s cannot be used", asked), why, keyRemedy(key))
		p.findings[len(p.findings)-1].Location = at
	}
}

// bootKey is the key that the builder names for a copy into a Region; "" for none.
func (p *prediction) bootKey(at distribution.Location) string {
	if key, named := p.req.Intent.RegionKMSKeyIDs[at.Region]; named &&
		(at != p.home || p.req.Intent.KMSKeyID == "" || key != "") {
		return key
	}
	if at == p.home {
		return p.req.Intent.KMSKeyID
	}
	return ""
}

// launch tells the volumes of the instance.
func (p *prediction) launch() []born {
	var all []born
	mappings := p.req.Intent.Launch
	for _, m := range p.facts.Base.Base.BlockDeviceMappings {
		device := aws.ToString(m.DeviceName)
		i := slices.IndexFunc(mappings, func(v distribution.LaunchVolume) bool { return v.Device == device })
		if m.Ebs == nil || i >= 0 && mappings[i].NoDevice {
			continue
		}
		wish := distribution.LaunchVolume{Device: device, GiB: int64(aws.ToInt32(m.Ebs.VolumeSize))}
		if i >= 0 {
			wish = mappings[i]
			wish.GiB = cmp.Or(wish.GiB, int64(aws.ToInt32(m.Ebs.VolumeSize)))
		}
		if m.Ebs.SnapshotId == nil && wish.Encrypted == nil {
			wish.Encrypted = m.Ebs.Encrypted // an empty volume that the image wants encrypted (1.5.5)
		}
		all = append(
			all,
			born{device, int32(wish.GiB), p.volume(wish, aws.ToString(m.Ebs.SnapshotId), aws.ToBool(m.Ebs.Encrypted))},
		)
	}
	for _, v := range mappings {
		if !v.NoDevice && !slices.ContainsFunc(all, func(b born) bool { return b.device == v.Device }) {
			gib := cmp.Or(v.GiB, int64(aws.ToInt32(p.facts.Base.BaseSnapshots[v.SnapshotID].VolumeSize)))
			all = append(all, born{v.Device, int32(gib), p.volume(v, v.SnapshotID, false)})
		}
	}
	slices.SortFunc(all, func(a, b born) int { return strings.Compare(a.device, b.device) })
	return all
}

// volume is the table of rule 1.1. encrypted is what the image tells of a snapshot that is not visible itself: another
// account's.
func (p *prediction) volume(wish distribution.LaunchVolume, snapshotID string, encrypted bool) outcome {
	snapshot, seen := p.facts.Base.BaseSnapshots[snapshotID]
	own := seen && aws.ToString(snapshot.OwnerId) == p.home.Account
	if seen {
		encrypted = aws.ToBool(snapshot.Encrypted)
	}
	encrypted = encrypted && snapshotID != ""
	on, off := wish.Encrypted != nil && *wish.Encrypted, wish.Encrypted != nil && !*wish.Encrypted
	standard := p.facts.Defaults[p.home].Encryption
	switch option := "launch_block_device_mappings " + wish.Device; {
	case wish.KMSKeyID != "" && !on:
		p.refuse("1.1.11", option, "AWS refuses a key without encrypted = true", "KmsKeyId requires the parameter "+
			"Encrypted to be set", "set encrypted = true")
		return outcome{}
	case off && encrypted:
		p.refuse(
			"1.1.12",
			option,
			"an encrypted volume cannot become unencrypted",
			"the source AMI's snapshot of "+wish.Device+" is encrypted",
			"leave encrypted out",
		)
		return outcome{}
	case on && wish.KMSKeyID != "":
		return outcome{true, p.facts.Keys[p.home][wish.KMSKeyID].ARN(), "launch_block_device_mappings " +
			"names the key " + wish.KMSKeyID, "1.1.10"}
	case encrypted && own:
		return outcome{true, aws.ToString(snapshot.KmsKeyId), "the source AMI is encrypted under this key", "1.1.3"}
	case encrypted:
		return p.byDefault(p.home, "the source AMI is encrypted and another account's, so its volumes take", "1.1.5")
	case on:
		return p.byDefault(p.home, "launch_block_device_mappings asks for encryption and names no key, so the volume "+
			"takes", "1.1.6")
	case standard:
		return p.byDefault(p.home, "EBS encryption-by-default is on in "+p.home.Region+", which no option overrides; "+
			"it takes", "1.1.7")
	}
	return outcome{why: "nothing asks for encryption", rule: "1.1.2"}
}

// byDefault is under the default key of EBS.
func (p *prediction) byDefault(at distribution.Location, why, rule string) outcome {
	return outcome{
		true,
		p.facts.Keys[at][p.facts.Defaults[at].KMSKeyID].ARN(),
		why + " the default key of " + at.Region,
		rule,
	}
}

// copy tells the snapshots of the image in a Region; nil where they are refused. CreateImage changes nothing (1.2.1).
func (p *prediction) copy(volumes []born, at distribution.Location) []born {
	boot := p.req.Intent.EncryptBoot
	if at == p.home && (boot == nil || !*boot) {
		return volumes
	}
	var all []born
	for _, v := range volumes {
		out, copied := p.copied(v.out, at)
		if !copied {
			p.refuse(
				"1.4.8",
				"encrypt_boot",
				"the copy to "+at.Region+" would be refused",
				"the volume "+v.device+" is encrypted, and encrypt_boot = false asks for an unencrypted copy of it",
				"leave encrypt_boot out, or set it to true",
			)
			return nil
		}
		v.out = out
		all = append(all, v)
	}
	return all
}

// copied is the table of rule 1.4, for an image of one's own.
func (p *prediction) copied(from outcome, at distribution.Location) (outcome, bool) {
	boot := p.req.Intent.EncryptBoot
	on, off := boot != nil && *boot, boot != nil && !*boot
	asked := p.bootKey(at)
	switch {
	case off && from.encrypted:
		return outcome{}, false
	case on && asked != "":
		return outcome{true, p.facts.Keys[at][asked].ARN(), "encrypt_boot copies the image " +
			"under the key " + asked, "1.4.6"}, true
	case from.encrypted && at == p.home:
		from.why += "; encrypt_boot names no other, and its copy keeps it"
		return from, true
	case from.encrypted:
		return p.byDefault(at, "an encrypted image that is copied to another Region without a key of "+
			"its own takes", "1.4.9"), true
	case on:
		return p.byDefault(at, "encrypt_boot names no key, so its copy takes", "1.4.3"), true
	case p.facts.Defaults[at].Encryption:
		return p.byDefault(at, "EBS encryption-by-default is on in "+at.Region+", which no option "+
			"overrides; it takes", "1.4.2"), true
	}
	return from, true
}

// image is what the survey would see of an image with these snapshots. What else it has comes from the image that the
// build starts from.
func (p *prediction) image(of []born) distribution.Image {
	image := *p.facts.Base.Base
	image.ImageId, image.Name, image.Description = aws.String(
		distribution.Unbuilt,
	), aws.String(
		cmp.Or(p.req.Intent.AMIName, distribution.UnbuiltName),
	), nil
	image.OwnerId, image.State, image.StateReason = aws.String(p.home.Account), ec2types.ImageStateAvailable, nil
	image.Tags, image.DeprecationTime, image.BlockDeviceMappings = nil, nil, nil
	seen := distribution.Image{
		Image:         &image,
		Snapshots:     map[string]distribution.Snapshot{},
		UEFIData:      p.facts.Base.UEFIData,
		Base:          p.facts.Base.Base,
		BaseSnapshots: p.facts.Base.BaseSnapshots,
	}
	for _, v := range of {
		id := "snapshot-of" + strings.ReplaceAll(v.device, "/", "-")
		image.BlockDeviceMappings = append(image.BlockDeviceMappings, ec2types.BlockDeviceMapping{
			DeviceName: aws.String(v.device),
			Ebs: &ec2types.EbsBlockDevice{
				SnapshotId: aws.String(id),
				VolumeSize: aws.Int32(v.gib),
				Encrypted:  aws.Bool(v.out.encrypted),
			},
		})
		snapshot := ec2types.Snapshot{
			SnapshotId: aws.String(id),
			VolumeSize: aws.Int32(v.gib),
			Encrypted:  aws.Bool(v.out.encrypted),
			OwnerId:    aws.String(p.home.Account),
			State:      ec2types.SnapshotStateCompleted,
		}
		if v.out.encrypted {
			snapshot.KmsKeyId = aws.String(v.out.key)
		}
		seen.Snapshots[id] = distribution.Snapshot{Snapshot: snapshot, SharedWith: []string{}}
		if why := v.out.why; v.out.encrypted && !slices.Contains(seen.Foretold, why) {
			seen.Foretold = append(seen.Foretold, why)
		}
	}
	return seen
}

// builderCopies counts the full copies that the builder makes: one of each volume for every other Region, and with
// encrypt_boot one more.
func builderCopies(req distribution.Request, facts distribution.Facts) int {
	n := 0
	for _, wanted := range req.Images {
		if req.Intent != nil &&
			(wanted.Region != req.Build.Region || req.Intent.EncryptBoot != nil && *req.Intent.EncryptBoot) {
			n += len(facts.Images[wanted.Region].Snapshots)
		}
	}
	return n
}

// withoutBoot supposes that the volumes are put under the key of encrypt_boot at launch, and that the builder makes no
// copy for it.
func withoutBoot(
	req distribution.Request,
	facts distribution.Facts,
) (distribution.Request, distribution.Facts, []string) {
	intent := *req.Intent
	home := distribution.Location{Account: facts.Source.Account, Region: req.Build.Region}
	key := (&prediction{req: req, facts: facts, home: home}).bootKey(home)
	intent.EncryptBoot, intent.KMSKeyID, intent.RegionKMSKeyIDs, intent.Launch = nil, "", nil, nil
	var lines []string
	for _, v := range volumes(facts.Images[req.Build.Region]) {
		intent.Launch = append(intent.Launch, distribution.LaunchVolume{
			Device:    v.device(),
			Encrypted: aws.Bool(true),
			KMSKeyID:  key,
			GiB:       v.gib(),
		})
		lines = append(lines, LaunchMapping(v.device(), key)...)
	}
	req.Intent = &intent
	facts.Images, _ = Predict(req, facts)
	return req, facts, append([]string{"# in place of encrypt_boot and kms_key_id"}, lines...)
}
