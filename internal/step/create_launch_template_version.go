// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// CreateLaunchTemplateVersion creates a launch template version with an image, and optionally makes it the default.
type CreateLaunchTemplateVersion struct {
	Base
	Template    string // as in the target, either lt-... or a name
	TemplateID  string // lt-...
	From        string // "$Default", "$Latest" or a number. The step resolves it again
	Source      int64  // its number at the time of the plan
	Version     int64  // created by an earlier run. Zero if there is none
	SetDefault  bool   // make it the default version
	Description string
	Image       Ref
	Release     time.Time // release of the image
	AnyRelease  bool      // replace an image of a newer release
	Replaces    []string  // images of which it must still name one; empty for any
	NewerThan   int64     // reuse only later versions; 0 for any
}

// TemplatePointer is the value of Pointer.Kind for a launch template.
const TemplatePointer = "launch template"

func (s *CreateLaunchTemplateVersion) Permissions() []Permission {
	template := s.Location.LaunchTemplateARN(s.TemplateID)
	needed := []Permission{
		{"ec2:DescribeLaunchTemplateVersions", "*", "A.4.12"},
		{"ec2:DescribeImages", "*", "4.4.1"},
	}
	if s.Version == 0 {
		needed = append(needed, Permission{"ec2:CreateLaunchTemplateVersion", template, "A.4.12"})
	}

	if s.SetDefault {
		needed = append(needed,
			Permission{"ec2:ModifyLaunchTemplate", template, "A.4.12"},
			Permission{"ec2:DescribeLaunchTemplates", "*", "A.4.12"})
	}

	return needed
}

func (s *CreateLaunchTemplateVersion) ResourceID() string { return s.TemplateID }

func (s *CreateLaunchTemplateVersion) String() string {
	if s.Version > 0 {
		return fmt.Sprintf("make version %d, which an earlier run made, the default of the launch template %s in %s",
			s.Version, s.Template, s.Location)
	}
	text := fmt.Sprintf("give the launch template %s in %s a version with the image, from version %d",
		s.Template, s.Location, s.Source)
	if s.SetDefault {
		text += ", and make it the default"
	}
	return text
}

func (s *CreateLaunchTemplateVersion) Doing(w Words) string {
	at := w.Location(s.Location)
	if s.Version > 0 {
		return fmt.Sprintf("Setting version %d as the default of launch template %s in %s", s.Version, s.Template, at)
	}
	return fmt.Sprintf("Creating a version of launch template %s in %s", s.Template, at)
}

func (s *CreateLaunchTemplateVersion) Summary() Summary { return publicationSummary() }

func (s *CreateLaunchTemplateVersion) Role() Role { return Publishes }

func (s *CreateLaunchTemplateVersion) Pointer() (distribution.Pointer, bool) {
	return distribution.Pointer{Kind: TemplatePointer, Name: s.Template}, true
}

// dryRuns returns the dry runs of the calls that the step will make.
func (s *CreateLaunchTemplateVersion) dryRuns(env Env) []DryRun {
	client := env.Clients.EC2(s.Location)
	var all []DryRun
	if s.Version == 0 {
		in := s.input(s.Source, nil, imageOrStandIn(s.Image))
		in.DryRun = aws.Bool(true)
		action := "ec2:CreateLaunchTemplateVersion " + s.TemplateID
		all = append(all, newDryRun(s, action, client.CreateLaunchTemplateVersion, in))
	}

	if s.SetDefault {
		in := &ec2.ModifyLaunchTemplateInput{
			DryRun:           aws.Bool(true),
			LaunchTemplateId: aws.String(s.TemplateID),
			DefaultVersion:   aws.String(strconv.FormatInt(s.Source, 10)),
		}
		all = append(all, newDryRun(s, "ec2:ModifyLaunchTemplate "+s.TemplateID, client.ModifyLaunchTemplate, in))
	}

	return all
}

var _ = register(&CreateLaunchTemplateVersion{}, operation{
	start:   func(s Step, env Env) Attempt { return s.(*CreateLaunchTemplateVersion).start(env) },
	dryRuns: func(s Step, env Env) []DryRun { return s.(*CreateLaunchTemplateVersion).dryRuns(env) },
})

func (s *CreateLaunchTemplateVersion) start(env Env) Attempt {
	client, imageID := env.Clients.EC2(s.Location), env.ID(s.Image)
	return &createLaunchTemplateVersion{
		step:     s,
		client:   client,
		imageID:  imageID,
		unsigned: env.Outcomes.Of(s.Image.From).Unsigned,
		image:    imageCheck{client: client, imageID: imageID},
		releases: releaseCheck{
			at:        s.Location,
			release:   s.Release,
			isOff:     s.AnyRelease,
			releaseOf: env.releaseOf,
		},
	}
}

// input returns the input for creating a version from another version. The client token depends only on the image
// and the versions, so a resumed run gets the version of the earlier run (rule 4.2.3).
func (s *CreateLaunchTemplateVersion) input(
	source int64, mappings []ec2types.LaunchTemplateBlockDeviceMapping, imageID string,
) *ec2.CreateLaunchTemplateVersionInput {
	version := strconv.FormatInt(source, 10)
	in := &ec2.CreateLaunchTemplateVersionInput{
		LaunchTemplateId: aws.String(s.TemplateID),
		SourceVersion:    aws.String(version),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
			ImageId:             aws.String(imageID),
			BlockDeviceMappings: requestMappings(mappings),
		},
	}

	fields := []string{"launch template", s.Location.String(), s.TemplateID, version, imageID, s.Description}
	if s.NewerThan > 0 {
		fields = append(fields, strconv.FormatInt(s.NewerThan, 10))
	}
	in.ClientToken = aws.String(clientToken(fields...))

	if s.Description != "" {
		in.VersionDescription = aws.String(s.Description)
	}

	return in
}

// clientToken returns 32 hexadecimal digits that depend only on the fields.
func clientToken(fields ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(fields, "\n")))
	return hex.EncodeToString(sum[:16])
}

type createLaunchTemplateVersion struct {
	step       *CreateLaunchTemplateVersion
	client     *ec2.Client
	imageID    string
	unsigned   bool
	image      imageCheck
	releases   releaseCheck
	version    string                               // empty until it exists
	source     *ec2types.ResponseLaunchTemplateData // data of the version that it was created from
	setDefault bool                                 // the step has called ModifyLaunchTemplate
	wait       consistencyWait
}

// Do finds or creates the version, reads it back, and optionally makes it the default.
func (a *createLaunchTemplateVersion) Do(ctx context.Context) (Outcome, error) {
	if a.unsigned {
		return Outcome{}, ErrUnsigned
	}

	if a.version == "" {
		if err := a.image.requireAvailable(ctx); err != nil {
			return Outcome{}, err
		}
		version, err := a.findOrCreate(ctx)
		if err != nil {
			return Outcome{}, err
		}
		a.version = version
	}

	outcome := Outcome{ID: a.step.TemplateID + ":" + a.version}
	shown, err := a.describe(ctx, a.version)
	switch {
	case awsclient.IsNotFound(err): // eventual consistency (rule 4.4.1)
		return outcome, a.wait.retry(err)
	case err != nil:
		return outcome, err
	case imageOf(shown) != a.imageID:
		return outcome, fmt.Errorf("version %s of %s names %q", a.version, a.step.TemplateID, imageOf(shown))
	case !DiffersOnlyInImage(shown.LaunchTemplateData, a.source):
		return outcome, fmt.Errorf("version %s of %s has other launch parameters than the version that it was created from",
			a.version, a.step.TemplateID)
	case a.step.SetDefault:
		outcome.Notes, err = a.makeDefault(ctx)
		return outcome, err
	}

	return outcome, nil
}

// findOrCreate returns the number of a version that differs from its source only in the image.
func (a *createLaunchTemplateVersion) findOrCreate(ctx context.Context) (string, error) {
	if err := a.requireReplaceable(ctx); err != nil {
		return "", err
	}

	source, err := a.describe(ctx, a.step.From)
	if err != nil {
		return "", err
	}

	a.source = source.LaunchTemplateData
	existing, err := a.find(ctx, source)
	if err != nil || existing > 0 {
		return strconv.FormatInt(existing, 10), err
	}

	number, mappings := aws.ToInt64(source.VersionNumber), mappingsOf(source)
	created, err := a.client.CreateLaunchTemplateVersion(ctx, a.step.input(number, mappings, a.imageID))
	if err != nil {
		return "", err
	}

	return strconv.FormatInt(aws.ToInt64(created.LaunchTemplateVersion.VersionNumber), 10), nil
}

// requireReplaceable returns an error if the template no longer names an image that the step replaces.
func (a *createLaunchTemplateVersion) requireReplaceable(ctx context.Context) error {
	if len(a.step.Replaces) == 0 {
		return nil
	}

	version := "$Latest"
	if a.step.SetDefault {
		version = "$Default"
	}

	current, err := a.describe(ctx, version)
	if err == nil && !isReplaceable(a.step.Replaces, imageOf(current)) {
		err = movedError(a.step.Template, imageOf(current))
	}
	return err
}

// find returns the oldest version that differs from source only in the image, because later versions may derive
// from it. Zero if there is none.
func (a *createLaunchTemplateVersion) find(ctx context.Context, source ec2types.LaunchTemplateVersion) (int64, error) {
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(a.client, &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: aws.String(a.step.TemplateID),
		Filters:          []ec2types.Filter{{Name: aws.String("image-id"), Values: []string{a.imageID}}},
	})
	oldest := int64(0)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, err
		}
		for _, version := range page.LaunchTemplateVersions {
			if !DiffersOnlyInImage(version.LaunchTemplateData, source.LaunchTemplateData) {
				continue
			}
			n := aws.ToInt64(version.VersionNumber)
			if n > a.step.NewerThan && (oldest == 0 || n < oldest) {
				oldest = n
			}
		}
	}

	return oldest, nil
}

func (a *createLaunchTemplateVersion) describe(
	ctx context.Context, version string,
) (ec2types.LaunchTemplateVersion, error) {
	out, err := a.client.DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateId: aws.String(a.step.TemplateID),
		Versions:         []string{version},
	})
	if err != nil {
		return ec2types.LaunchTemplateVersion{}, err
	}
	if len(out.LaunchTemplateVersions) != 1 {
		return ec2types.LaunchTemplateVersion{}, fmt.Errorf(
			"AWS shows %d versions %s of %s", len(out.LaunchTemplateVersions), version, a.step.TemplateID)
	}
	return out.LaunchTemplateVersions[0], nil
}

// makeDefault makes the version the default, unless the current default has an image of a newer release.
func (a *createLaunchTemplateVersion) makeDefault(ctx context.Context) ([]distribution.Finding, error) {
	if !a.setDefault {
		current, err := a.describe(ctx, "$Default")
		if err != nil {
			return nil, err
		}

		if !isReplaceable(a.step.Replaces, imageOf(current)) && imageOf(current) != a.imageID {
			return nil, movedError(a.step.Template, imageOf(current))
		}

		notes, err := a.releases.note(ctx, a.step.Template, imageOf(current))
		if err != nil || len(notes) > 0 {
			return notes, err
		}

		_, err = a.client.ModifyLaunchTemplate(ctx, &ec2.ModifyLaunchTemplateInput{
			LaunchTemplateId: aws.String(a.step.TemplateID),
			DefaultVersion:   aws.String(a.version),
		})
		if err != nil {
			return nil, err
		}

		a.setDefault = true
	}

	out, err := a.client.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{
		LaunchTemplateIds: []string{a.step.TemplateID},
	})
	if err != nil {
		return nil, err
	}

	shown := ""
	if len(out.LaunchTemplates) == 1 {
		shown = strconv.FormatInt(aws.ToInt64(out.LaunchTemplates[0].DefaultVersionNumber), 10)
	}

	if shown == a.version {
		return nil, nil
	}

	return nil, a.wait.retry(fmt.Errorf(
		"the default of %s is version %s and not %s: somebody else has set it", a.step.TemplateID, shown, a.version))
}

// DiffersOnlyInImage reports whether two launch template versions are equal except for the image.
func DiffersOnlyInImage(a, b *ec2types.ResponseLaunchTemplateData) bool {
	if a == nil || b == nil {
		return a == b
	}
	one, other := *a, *b
	one.ImageId, other.ImageId = nil, nil
	return reflect.DeepEqual(one, other)
}

func imageOf(version ec2types.LaunchTemplateVersion) string {
	if version.LaunchTemplateData == nil {
		return ""
	}
	return aws.ToString(version.LaunchTemplateData.ImageId)
}

func mappingsOf(version ec2types.LaunchTemplateVersion) []ec2types.LaunchTemplateBlockDeviceMapping {
	if version.LaunchTemplateData == nil {
		return nil
	}
	return version.LaunchTemplateData.BlockDeviceMappings
}

// requestMappings converts block device mappings for a request. A new version would lose the snapshots of its
// source's mappings unless the request repeats them (SDK, SourceVersion). Nil if no mapping has a snapshot.
func requestMappings(
	shown []ec2types.LaunchTemplateBlockDeviceMapping,
) []ec2types.LaunchTemplateBlockDeviceMappingRequest {
	if !slices.ContainsFunc(shown, func(m ec2types.LaunchTemplateBlockDeviceMapping) bool {
		return m.Ebs != nil && m.Ebs.SnapshotId != nil
	}) {
		return nil
	}

	var mappings []ec2types.LaunchTemplateBlockDeviceMappingRequest
	for _, m := range shown {
		mappings = append(mappings, ec2types.LaunchTemplateBlockDeviceMappingRequest{
			DeviceName:  m.DeviceName,
			Ebs:         requestVolume(m.Ebs),
			NoDevice:    m.NoDevice,
			VirtualName: m.VirtualName,
		})
	}

	return mappings
}

func requestVolume(shown *ec2types.LaunchTemplateEbsBlockDevice) *ec2types.LaunchTemplateEbsBlockDeviceRequest {
	if shown == nil {
		return nil
	}
	return &ec2types.LaunchTemplateEbsBlockDeviceRequest{
		DeleteOnTermination:      shown.DeleteOnTermination,
		EbsCardIndex:             shown.EbsCardIndex,
		Encrypted:                shown.Encrypted,
		Iops:                     shown.Iops,
		KmsKeyId:                 shown.KmsKeyId,
		SnapshotId:               shown.SnapshotId,
		Throughput:               shown.Throughput,
		VolumeInitializationRate: shown.VolumeInitializationRate,
		VolumeSize:               shown.VolumeSize,
		VolumeType:               shown.VolumeType,
	}
}
