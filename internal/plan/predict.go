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

// Predict returns the images that amazon-ebs will create, by Region, and findings about them. It returns no images
// if AWS or the builder would refuse one. amazon-ebs launches an instance, creates an image of it, and copies that
// to the other Regions. With encrypt_boot it also copies it within the Region of the build, and deregisters the
// first image.
func (a *Assessment) Predict() (map[string]distribution.Image, []distribution.Finding) {
	p := prediction{
		Assessment: a,
		home:       distribution.Location{Account: a.facts.Source.Account, Region: a.req.Build.Region},
	}

	if p.validate(); len(p.findings) > 0 {
		return nil, p.findings
	}

	p.warnOfProtectedNamesakes()
	volumes := p.launch()
	images := map[string]distribution.Image{}
	for _, image := range a.req.Images {
		at := distribution.Location{Account: a.facts.Source.Account, Region: image.Region}
		if copied := p.copy(volumes, at); copied != nil {
			images[image.Region] = p.image(copied)
		}
	}

	if slices.ContainsFunc(p.findings, func(f distribution.Finding) bool { return f.Level == distribution.Refused }) {
		return nil, p.findings
	}

	return images, p.findings
}

type prediction struct {
	*Assessment
	home     distribution.Location // of the build
	findings []distribution.Finding
}

// predictedVolume is a volume, or its snapshot, as AWS will create it.
type predictedVolume struct {
	device     string
	gib        int32
	encryption encryption
}

// encryption is the encryption of a volume, and the rule that determines it.
type encryption struct {
	encrypted bool
	key       string // ARN. Empty if it is not encrypted or the key is unknown
	reason    string
	rule      string
}

func (p *prediction) refuse(code, rule, option, summary, detail, remediation string) {
	p.findings = append(p.findings, distribution.Finding{
		Level:       distribution.Refused,
		Code:        code,
		Reference:   rule,
		Field:       "build: " + option,
		Location:    p.home,
		Summary:     summary,
		Detail:      detail,
		Remediation: remediation,
	})
}

// validate adds findings if there is no base AMI, a key is not usable, or amazon-ebs refuses the options.
func (p *prediction) validate() {
	intent := p.req.Intent
	p.validateBase()
	if !isTrue(intent.EncryptBoot) && (intent.KMSKeyID != "" || len(intent.RegionKMSKeyIDs) > 0) {
		p.refuse(distribution.CodeBuilderKeyUnused, "1.4.7", "kms_key_id",
			"amazon-ebs refuses a key without encrypt_boot",
			"kms_key_id and region_kms_key_ids encrypt the copy that encrypt_boot makes",
			"set encrypt_boot = true, or leave the keys to launch_block_device_mappings")
		return
	}

	for _, image := range p.req.Images {
		at := distribution.Location{Account: p.home.Account, Region: image.Region}
		p.validateKey(at, "kms_key_id", p.bootKey(at))
	}

	for _, v := range intent.Launch {
		p.validateKey(p.home, fmt.Sprintf("launch_block_device_mappings %s: kms_key_id", v.Device), v.KMSKeyID)
	}
}

// warnOfProtectedNamesakes adds a finding for each image that has the name of the build and deregistration protection.
// packer build -force deregisters such an image at the end of the build, which then fails.
func (p *prediction) warnOfProtectedNamesakes() {
	for _, image := range p.req.Images {
		id := p.facts.ProtectedNamesakes[image.Region]
		if id == "" {
			continue
		}
		p.findings = append(p.findings, distribution.Finding{
			Level:     distribution.Warning,
			Code:      distribution.CodeNamesakeProtected,
			Reference: "A.2.1",
			Field:     "build: ami_name",
			Location:  distribution.Location{Account: p.home.Account, Region: image.Region},
			Resource:  id,
			Summary:   fmt.Sprintf("amazon-ebs cannot replace %s, which has the name %q", id, p.req.Intent.AMIName),
			Detail: "it has deregistration protection, which a failed run leaves; packer build -force fails at the end of " +
				"the build",
			Remediation: "resume that run, or give it up (packer build -var mode=cleanup with its resume file), " +
				"or set another ami_name",
		})
	}
}

func (p *prediction) validateBase() {
	if p.facts.Base.Base != nil {
		return
	}

	if p.facts.BaseMatches > 1 {
		p.refuse(distribution.CodeBaseAMIAmbiguous, "2.5.2", "source_ami_filter",
			fmt.Sprintf("%d images match", p.facts.BaseMatches),
			"amazon-ebs takes one",
			"set most_recent = true, or filter for one")
		return
	}

	option := "source_ami_filter"
	if p.req.Intent.BaseAMI != "" {
		option = "source_ami"
	}

	p.refuse(distribution.CodeBaseAMIMissing, "2.2.12", option,
		"there is no image to start from",
		"AWS shows none to the source credentials",
		"check id, owners, filters, Region and credentials")
}

// validateKey adds a finding if a key of the builder is not usable.
func (p *prediction) validateKey(at distribution.Location, option, name string) {
	if name == "" {
		return
	}
	key := p.facts.Keys[at][name]
	if reason, rule := keyUnusableReason(key); reason != "" && !key.IsHidden() {
		p.refuse(
			distribution.CodeKeyUnusable,
			rule,
			option,
			fmt.Sprintf("the key %s cannot be used", name),
			reason,
			keyRemedy(key),
		)
		p.findings[len(p.findings)-1].Location = at
	}
}

// bootKey returns the key that the builder names for a copy to a Region. Empty if it names none.
func (p *prediction) bootKey(at distribution.Location) string {
	intent := p.req.Intent
	key, found := intent.RegionKMSKeyIDs[at.Region]
	if found && (at != p.home || intent.KMSKeyID == "" || key != "") {
		return key
	}
	if at == p.home {
		return intent.KMSKeyID
	}
	return ""
}

// launch returns the volumes of the instance, sorted by device.
func (p *prediction) launch() []predictedVolume {
	var predicted []predictedVolume
	mappings := p.req.Intent.Launch
	for _, m := range p.facts.Base.Base.BlockDeviceMappings {
		device := aws.ToString(m.DeviceName)
		i := slices.IndexFunc(mappings, func(v distribution.LaunchVolume) bool { return v.Device == device })
		if m.Ebs == nil || i >= 0 && mappings[i].NoDevice {
			continue
		}

		size := int64(aws.ToInt32(m.Ebs.VolumeSize))
		requested := distribution.LaunchVolume{Device: device, GiB: size}
		if i >= 0 {
			requested = mappings[i]
			requested.GiB = cmp.Or(requested.GiB, size)
		}

		if m.Ebs.SnapshotId == nil && requested.Encrypted == nil {
			requested.Encrypted = m.Ebs.Encrypted // of an empty volume (1.5.5)
		}

		e := p.volumeEncryption(requested, aws.ToString(m.Ebs.SnapshotId), aws.ToBool(m.Ebs.Encrypted))
		predicted = append(predicted, predictedVolume{device, int32(requested.GiB), e})
	}

	for _, v := range mappings {
		hasDevice := func(other predictedVolume) bool { return other.device == v.Device }
		if v.NoDevice || slices.ContainsFunc(predicted, hasDevice) {
			continue
		}
		gib := cmp.Or(v.GiB, int64(aws.ToInt32(p.facts.Base.BaseSnapshots[v.SnapshotID].VolumeSize)))
		predicted = append(predicted, predictedVolume{v.Device, int32(gib), p.volumeEncryption(v, v.SnapshotID, false)})
	}

	slices.SortFunc(predicted, func(a, b predictedVolume) int { return strings.Compare(a.device, b.device) })
	return predicted
}

// volumeEncryption applies rule 1.1 to a volume. isEncrypted is what the base AMI says about the snapshot. It is used
// if the snapshot belongs to another account and is not visible.
func (p *prediction) volumeEncryption(v distribution.LaunchVolume, snapshotID string, isEncrypted bool) encryption {
	snapshot, isVisible := p.facts.Base.BaseSnapshots[snapshotID]
	isOwn := isVisible && aws.ToString(snapshot.OwnerId) == p.home.Account
	if isVisible {
		isEncrypted = aws.ToBool(snapshot.Encrypted)
	}

	isEncrypted = isEncrypted && snapshotID != ""
	if !p.isValidVolume(v, isEncrypted) {
		return encryption{}
	}

	switch {
	case isTrue(v.Encrypted) && v.KMSKeyID != "":
		reason := "launch_block_device_mappings names the key " + v.KMSKeyID
		return encryption{true, p.facts.Keys[p.home][v.KMSKeyID].ARN(), reason, "1.1.10"}
	case isEncrypted && isOwn:
		return encryption{true, aws.ToString(snapshot.KmsKeyId), "the source AMI is encrypted under this key", "1.1.3"}
	case isEncrypted:
		return p.withDefaultKey(p.home, "1.1.5",
			"the source AMI is encrypted and another account's, so its volumes take")
	case isTrue(v.Encrypted):
		return p.withDefaultKey(p.home, "1.1.6",
			"launch_block_device_mappings asks for encryption and names no key, so the volume takes")
	case p.facts.Defaults[p.home].Encryption:
		return p.withDefaultKey(p.home, "1.1.7",
			"EBS encryption-by-default is on in "+p.home.Region+", which no option overrides; it takes")
	}

	return encryption{reason: "nothing asks for encryption", rule: "1.1.2"}
}

// isValidVolume reports whether AWS accepts the encryption options of a volume. It adds a finding if not.
func (p *prediction) isValidVolume(v distribution.LaunchVolume, isEncrypted bool) bool {
	option := "launch_block_device_mappings " + v.Device
	switch {
	case v.KMSKeyID != "" && !isTrue(v.Encrypted):
		p.refuse(distribution.CodeBuilderKeyUnused, "1.1.11", option,
			"AWS refuses a key without encrypted = true",
			"KmsKeyId requires the parameter Encrypted to be set",
			"set encrypted = true")
		return false
	case isFalse(v.Encrypted) && isEncrypted:
		p.refuse(distribution.CodeBuilderDecrypts, "1.1.12", option,
			"an encrypted volume cannot become unencrypted",
			"the source AMI's snapshot of "+v.Device+" is encrypted",
			"leave encrypted out")
		return false
	}

	return true
}

// withDefaultKey returns an encryption with the EBS default key.
func (p *prediction) withDefaultKey(at distribution.Location, rule, reason string) encryption {
	key := p.facts.Keys[at][p.facts.Defaults[at].KMSKeyID].ARN()
	return encryption{true, key, reason + " the default key of " + at.Region, rule}
}

// copy returns the snapshots of the image in a Region. Nil if AWS refuses the copy. CreateImage changes no encryption
// (1.2.1).
func (p *prediction) copy(volumes []predictedVolume, at distribution.Location) []predictedVolume {
	if at == p.home && !isTrue(p.req.Intent.EncryptBoot) {
		return volumes
	}

	var copies []predictedVolume
	for _, v := range volumes {
		e, isPossible := p.copyEncryption(v.encryption, at)
		if !isPossible {
			p.refuse(distribution.CodeBuilderDecrypts, "1.4.8", "encrypt_boot",
				"the copy to "+at.Region+" would be refused",
				"the volume "+v.device+" is encrypted, and encrypt_boot = false asks for an unencrypted copy of it",
				"leave encrypt_boot out, or set it to true")
			return nil
		}
		v.encryption = e
		copies = append(copies, v)
	}

	return copies
}

// copyEncryption applies rule 1.4 to the copy of an own image. False if AWS refuses it.
func (p *prediction) copyEncryption(from encryption, at distribution.Location) (encryption, bool) {
	boot, key := p.req.Intent.EncryptBoot, p.bootKey(at)
	switch {
	case isFalse(boot) && from.encrypted:
		return encryption{}, false
	case isTrue(boot) && key != "":
		reason := "encrypt_boot copies the image under the key " + key
		return encryption{true, p.facts.Keys[at][key].ARN(), reason, "1.4.6"}, true
	case from.encrypted && at == p.home:
		from.reason += "; encrypt_boot names no other, and its copy keeps it"
		return from, true
	case from.encrypted:
		return p.withDefaultKey(at, "1.4.9",
			"an encrypted image that is copied to another Region without a key of its own takes"), true
	case isTrue(boot):
		return p.withDefaultKey(at, "1.4.3", "encrypt_boot names no key, so its copy takes"), true
	case p.facts.Defaults[at].Encryption:
		return p.withDefaultKey(at, "1.4.2",
			"EBS encryption-by-default is on in "+at.Region+", which no option overrides; it takes"), true
	}

	return from, true
}

func isTrue(option *bool) bool { return option != nil && *option }

func isFalse(option *bool) bool { return option != nil && !*option }

// image returns the facts of an image with these snapshots. Its other attributes are those of the base AMI.
func (p *prediction) image(volumes []predictedVolume) distribution.Image {
	image := *p.facts.Base.Base
	image.ImageId = aws.String(distribution.Unbuilt)
	image.Name = aws.String(cmp.Or(p.req.Intent.AMIName, distribution.UnbuiltName))
	image.OwnerId = aws.String(p.home.Account)
	image.State = ec2types.ImageStateAvailable
	image.Description, image.StateReason, image.DeprecationTime = nil, nil, nil
	image.Tags, image.BlockDeviceMappings = nil, nil

	facts := distribution.Image{
		Image:         &image,
		Snapshots:     map[string]distribution.Snapshot{},
		UEFIData:      p.facts.Base.UEFIData,
		Base:          p.facts.Base.Base,
		BaseSnapshots: p.facts.Base.BaseSnapshots,
	}

	for _, v := range volumes {
		snapshot := p.snapshot(v)
		image.BlockDeviceMappings = append(image.BlockDeviceMappings, ec2types.BlockDeviceMapping{
			DeviceName: aws.String(v.device),
			Ebs: &ec2types.EbsBlockDevice{
				SnapshotId: snapshot.SnapshotId,
				VolumeSize: snapshot.VolumeSize,
				Encrypted:  snapshot.Encrypted,
			},
		})

		facts.Snapshots[*snapshot.SnapshotId] = distribution.Snapshot{Snapshot: snapshot, SharedWith: []string{}}
		if reason := v.encryption.reason; v.encryption.encrypted && !slices.Contains(facts.EncryptionReasons, reason) {
			facts.EncryptionReasons = append(facts.EncryptionReasons, reason)
		}
	}

	return facts
}

func (p *prediction) snapshot(v predictedVolume) ec2types.Snapshot {
	snapshot := ec2types.Snapshot{
		SnapshotId: aws.String("snapshot-of" + strings.ReplaceAll(v.device, "/", "-")),
		VolumeSize: aws.Int32(v.gib),
		Encrypted:  aws.Bool(v.encryption.encrypted),
		OwnerId:    aws.String(p.home.Account),
		State:      ec2types.SnapshotStateCompleted,
	}
	if v.encryption.encrypted {
		snapshot.KmsKeyId = aws.String(v.encryption.key)
	}
	return snapshot
}

// builderCopies returns the number of full copies that the builder creates: one of each volume for every other
// Region, and one more with encrypt_boot.
func (a *Assessment) builderCopies() int {
	if a.req.Intent == nil {
		return 0
	}
	n := 0
	for _, image := range a.req.Images {
		if image.Region != a.req.Build.Region || isTrue(a.req.Intent.EncryptBoot) {
			n += len(a.facts.Images[image.Region].Snapshots)
		}
	}
	return n
}

// withoutEncryptBoot returns the assessment of a request whose volumes are encrypted at launch, so that encrypt_boot
// creates no copy. It also returns the lines for the builder.
func (a *Assessment) withoutEncryptBoot() (changed *Assessment, lines []string) {
	intent := *a.req.Intent
	home := distribution.Location{Account: a.facts.Source.Account, Region: a.req.Build.Region}
	key := (&prediction{Assessment: a, home: home}).bootKey(home)
	intent.EncryptBoot, intent.KMSKeyID, intent.RegionKMSKeyIDs, intent.Launch = nil, "", nil, nil
	lines = []string{"# in place of encrypt_boot and kms_key_id"}
	for _, v := range volumes(a.facts.Images[a.req.Build.Region]) {
		intent.Launch = append(intent.Launch, distribution.LaunchVolume{
			Device:    v.device(),
			Encrypted: aws.Bool(true),
			KMSKeyID:  key,
			GiB:       v.gib(),
		})
		lines = append(lines, LaunchMapping(v.device(), key)...)
	}

	changed = a.with(a.facts)
	changed.req.Intent = &intent
	changed.facts.Images, _ = changed.Predict()
	return changed, lines
}
