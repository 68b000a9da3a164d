// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

// RetireSource deregisters the source image of an older release with its snapshots, unless something uses it. Its
// signing keys go into a parameter first, because they prove which copies its runs created. If Disable is set, it only
// disables the image, which then keeps its tags.
type RetireSource struct {
	Base
	ImageID string
	Name    string // for messages
	DryRun  bool   // report the image and keep it
	Disable bool   // disable the image. A later run deregisters it
}

func (s *RetireSource) Permissions() []Permission {
	image := s.Location.ImageARN(s.ImageID)
	all := []Permission{
		{"ec2:DescribeImages", "*", "4.4.1"},
		{"ec2:DescribeImageReferences", "*", "9.12"},
		{"ec2:DescribeInstances", "*", "8.7"},
		{"ec2:DescribeImageAttribute", image, "2.2.11"},
		{"ec2:DescribeImageUsageReports", "*", "9.12"},
		{"ec2:DescribeImageUsageReportEntries", "*", "9.12"},
	}
	for _, action := range ReferencePermissions {
		all = append(all, Permission{action, "*", "9.12"})
	}
	all = append(all, Permission{"ec2:CreateImageUsageReport", image, "9.12"})
	if s.DryRun {
		return all
	}
	if s.Disable {
		return append([]Permission{{"ec2:DisableImage", image, "9.2"}}, all...)
	}
	return append([]Permission{
		{"ec2:DeregisterImage", image, "2.5.9"},
		{"ec2:DeleteSnapshot", s.Location.SnapshotARN("*"), "9.11"},
		{"ssm:PutParameter", s.Location.RetiredSourceARN(s.ImageID), "7.2"},
	}, all...)
}

func (s *RetireSource) ResourceID() string { return s.ImageID }

func (s *RetireSource) String() string {
	if s.DryRun {
		return fmt.Sprintf("check whether the source AMI %s %q in %s would be %s",
			s.ImageID, s.Name, s.Location, retired(s.Disable))
	}
	if s.Disable {
		return fmt.Sprintf("disable the source AMI %s %q in %s, unless it is in use", s.ImageID, s.Name, s.Location)
	}
	return fmt.Sprintf("deregister the source AMI %s %q with its snapshots in %s, unless it is in use",
		s.ImageID, s.Name, s.Location)
}

func (s *RetireSource) Doing(w Words) string {
	at := w.Location(s.Location)
	if s.DryRun {
		return fmt.Sprintf("Checking whether the source AMI %s (%q) in %s could be %s",
			s.ImageID, s.Name, at, retired(s.Disable))
	}
	if s.Disable {
		return fmt.Sprintf("Disabling the earlier source AMI %s (%q) in %s", s.ImageID, s.Name, at)
	}
	return fmt.Sprintf("Deregistering the earlier source AMI %s (%q) in %s", s.ImageID, s.Name, at)
}

func (s *RetireSource) Summary() Summary {
	if s.Disable {
		return Summary{Phrase: Phrase{Text: "disable %s", Singular: "earlier source AMI"}}
	}
	return Summary{Phrase: Phrase{Text: "deregister %s", Singular: "earlier source AMI"}}
}

func (s *RetireSource) Role() Role { return RemovesRelease }

// PolicyCondition limits the deregistration to images of image families. A build's snapshots have no common tag.
func (s *RetireSource) PolicyCondition(action string) (distribution.Condition, bool) {
	switch action {
	case "ec2:DeregisterImage", "ec2:DisableImage":
		return distribution.Condition{"Null": {"aws:ResourceTag/" + provenance.TagImageFamily: {"false"}}}, true
	case "ec2:DeleteSnapshot":
		return nil, true
	}
	return nil, false
}

var _ = register(&RetireSource{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*RetireSource).start(env) },
})

func (s *RetireSource) start(env Env) Attempt { return newAttempt(s, env, env.retireSource) }

// retireSource disables or deregisters a source image that nothing uses.
func (r *Run) retireSource(ctx context.Context, _ *attempt, s *RetireSource) (Outcome, error) {
	return r.retire(ctx, retirement{
		at:      s.Location,
		imageID: s.ImageID,
		subject: "the source AMI",
		option:  "source_retention",
		dryRun:  s.DryRun,
		disable: s.Disable,
		findUse: func(ctx context.Context, image *ec2types.Image) (string, error) {
			return r.findSourceUse(ctx, s.Location, image)
		},
		idToDisable: func(context.Context) (string, error) { return s.ImageID, nil },
		deregister: func(ctx context.Context, image *ec2types.Image) ([]distribution.RetainedResource, error) {
			if err := r.keepSigningKeys(ctx, s, image); err != nil {
				return nil, fmt.Errorf("its signing keys could not be stored: %w", err)
			}
			return r.callDeregisterImage(ctx, s.Location, s.ImageID, true)
		},
	})
}

// keepSigningKeys stores the tags that prove the copies of an image. The same call again changes nothing.
func (r *Run) keepSigningKeys(ctx context.Context, s *RetireSource, image *ec2types.Image) error {
	_, err := r.Clients.SSM(s.Location).PutParameter(ctx, &ssm.PutParameterInput{
		Name:        aws.String(provenance.RetiredSourceName(s.ImageID)),
		Type:        ssmtypes.ParameterTypeSecureString,
		Value:       aws.String(provenance.FormatRetiredSource(distribution.TagMap(image.Tags))),
		Description: aws.String("Proves the copies of a deregistered source AMI. Delete it when no copy is left."),
		Overwrite:   aws.Bool(true),
	})
	return err
}

// findSourceUse returns why a source image must stay. Empty if nothing uses it.
func (r *Run) findSourceUse(ctx context.Context, at distribution.Location, image *ec2types.Image) (string, error) {
	for _, tag := range image.Tags {
		if run, ok := provenance.ParseRecordKey(aws.ToString(tag.Key)); ok {
			return "run " + run + " of it has not ended or waits to be resumed", nil
		}
	}
	if IsProtected(*image) {
		return "it is protected against deregistration", nil
	}

	client, id := r.Clients.EC2(at), aws.ToString(image.ImageId)
	use, err := findInstanceOf(ctx, client, id)
	if err == nil && use == "" {
		use, err = findReferenceTo(ctx, client, id)
	}
	if err != nil || use != "" {
		return use, err
	}

	attribute, err := client.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{
		ImageId:   aws.String(id),
		Attribute: ec2types.ImageAttributeNameLaunchPermission,
	})
	if err != nil || len(attribute.LaunchPermissions) == 0 {
		return "", err
	}
	return findUseElsewhere(ctx, client, id)
}

// usageReportAge is how long a usage report counts. EC2 keeps it for 30 days (rule 9.26).
const usageReportAge = 7 * 24 * time.Hour

// findUseElsewhere describes the use of a shared image in another account, or says that AWS has not reported its uses
// yet. AWS does not promise when a report is available, so this run does not wait. The next run reads the report.
func findUseElsewhere(ctx context.Context, client *ec2.Client, imageID string) (string, error) {
	var newest *ec2types.ImageUsageReport
	reports := ec2.NewDescribeImageUsageReportsPaginator(client, &ec2.DescribeImageUsageReportsInput{
		ImageIds: []string{imageID},
	})
	for reports.HasMorePages() {
		page, err := reports.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for i, r := range page.ImageUsageReports {
			isComplete := aws.ToString(r.State) != "error" && time.Since(aws.ToTime(r.CreationTime)) < usageReportAge
			if isComplete && (newest == nil || r.CreationTime.After(*newest.CreationTime)) {
				newest = &page.ImageUsageReports[i]
			}
		}
	}

	switch {
	case newest == nil:
		return requestUsageReport(ctx, client, imageID)
	case aws.ToString(newest.State) != "available":
		return "it is shared, and AWS has not completed the usage report yet: the next run reads it", nil
	}

	var accounts []string
	entries := ec2.NewDescribeImageUsageReportEntriesPaginator(client, &ec2.DescribeImageUsageReportEntriesInput{
		ReportIds: []string{aws.ToString(newest.ReportId)},
	})
	for entries.HasMorePages() {
		page, err := entries.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, entry := range page.ImageUsageReportEntries {
			if aws.ToInt64(entry.UsageCount) > 0 {
				accounts = append(accounts, aws.ToString(entry.AccountId))
			}
		}
	}
	if len(accounts) == 0 {
		return "", nil
	}
	slices.Sort(accounts)
	return "it is shared, and used in " + strings.Join(slices.Compact(accounts), ", "), nil
}

// requestUsageReport requests a report of the instances and launch templates of other accounts.
func requestUsageReport(ctx context.Context, client *ec2.Client, imageID string) (string, error) {
	_, err := client.CreateImageUsageReport(ctx, &ec2.CreateImageUsageReportInput{
		ImageId: aws.String(imageID),
		ResourceTypes: []ec2types.ImageUsageResourceTypeRequest{
			{ResourceType: aws.String("ec2:Instance")},
			{
				ResourceType: aws.String("ec2:LaunchTemplate"),
				ResourceTypeOptions: []ec2types.ImageUsageResourceTypeOptionRequest{
					{OptionName: aws.String("version-depth"), OptionValues: []string{"10000"}},
				},
			},
		},
	})
	return "it is shared, and a usage report was requested: the next run reads it", err
}
