// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// usageReportDelay is how long AWS takes to create a report. AWS does not publish it.
const usageReportDelay = 10 * time.Minute

// usageReport shows which other accounts use an image (rule 9.12). Its entries are those of the time when it was
// requested.
type usageReport struct {
	id        string
	location  location
	imageID   string
	created   time.Time
	resources []types.ImageUsageResourceType
	entries   []types.ImageUsageReportEntry
}

// stateAt returns the state of a report.
func (r *usageReport) stateAt(now time.Time) string {
	if now.Before(r.created.Add(usageReportDelay)) {
		return "pending"
	}
	return "available"
}

// isExpired reports whether EC2 has deleted the report. It does so after 30 days.
func (r *usageReport) isExpired(now time.Time) bool { return now.After(r.created.AddDate(0, 0, 30)) }

func (w *World) createImageUsageReport(
	c *Call, in *ec2.CreateImageUsageReportInput,
) (*ec2.CreateImageUsageReportOutput, error) {
	if err := refuseUnmodeled(in, "ImageId", "ResourceTypes", "ClientToken"); err != nil {
		return nil, err
	}
	return runIdempotent(w, c, in.ClientToken, func() (*ec2.CreateImageUsageReportOutput, error) {
		if len(in.ResourceTypes) == 0 {
			return nil, missingParameter("ResourceTypes")
		}
		i, err := w.authorizeImage(c, in.ImageId)
		if err != nil {
			return nil, err
		}

		report := &usageReport{id: w.newID(c, "amiur-"), location: c.location(), imageID: i.id, created: c.At}
		for _, request := range in.ResourceTypes {
			kind, depth := aws.ToString(request.ResourceType), 20
			for _, option := range request.ResourceTypeOptions {
				if depth, err = strconv.Atoi(option.OptionValues[0]); err != nil || depth < 1 || depth > 10000 {
					return nil, badRequest("InvalidParameterValue", "The version depth is not between 1 and 10000.")
				}
			}
			report.resources = append(report.resources, types.ImageUsageResourceType{ResourceType: &kind})
			report.entries = append(report.entries, w.usageEntries(c, report, kind, depth)...)
		}
		w.usageReports = append(w.usageReports, report)
		return &ec2.CreateImageUsageReportOutput{ReportId: &report.id}, nil
	})
}

// usageEntries returns how many resources of a type refer to an image, by account. The account of the image is left
// out.
func (w *World) usageEntries(c *Call, r *usageReport, kind string, depth int) []types.ImageUsageReportEntry {
	counts := map[string]int64{}
	switch kind {
	case "ec2:Instance":
		for _, i := range w.instances.all {
			if aws.ToString(i.attributes.ImageId) == r.imageID && !i.isExpired(c.At) &&
				i.transitionAt(c.At).state != types.InstanceStateNameTerminated {
				counts[i.location.account]++
			}
		}
	case "ec2:LaunchTemplate":
		for _, t := range w.launchTemplates.all {
			for _, version := range t.versions[max(0, len(t.versions)-depth):] {
				if aws.ToString(version.data.ImageId) == r.imageID {
					counts[t.location.account]++
					break
				}
			}
		}
	}

	var entries []types.ImageUsageReportEntry
	for account, n := range counts {
		if w.violates(c, "9.25", account == r.location.account) {
			continue
		}
		entries = append(entries, types.ImageUsageReportEntry{
			AccountId: aws.String(account), ImageId: &r.imageID, ReportId: &r.id, ResourceType: aws.String(kind),
			ReportCreationTime: &r.created, UsageCount: aws.Int64(n),
		})
	}
	slices.SortFunc(entries, func(a, b types.ImageUsageReportEntry) int {
		return strings.Compare(*a.AccountId, *b.AccountId)
	})
	return entries
}

// findUsageReports returns the reports of the caller that a request names.
func (w *World) findUsageReports(c *Call, images, ids []string) (found []*usageReport) {
	for _, r := range w.usageReports {
		isNamed := (len(images) == 0 || slices.Contains(images, r.imageID)) &&
			(len(ids) == 0 || slices.Contains(ids, r.id))
		if r.location == c.location() && !r.isExpired(c.At) && isNamed {
			found = append(found, r)
		}
	}
	return found
}

func (w *World) describeImageUsageReports(
	c *Call, in *ec2.DescribeImageUsageReportsInput,
) (*ec2.DescribeImageUsageReportsOutput, error) {
	if err := refuseUnmodeled(in, "ImageIds", "ReportIds", "MaxResults", "NextToken"); err != nil {
		return nil, err
	}
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	var all []types.ImageUsageReport
	for _, r := range w.findUsageReports(c, in.ImageIds, in.ReportIds) {
		all = append(all, types.ImageUsageReport{
			ImageId: &r.imageID, ReportId: &r.id, CreationTime: &r.created,
			ExpirationTime: aws.Time(r.created.AddDate(0, 0, 30)), ResourceTypes: r.resources,
			State: aws.String(r.stateAt(c.At)),
		})
	}
	page, next, err := paginate(all, in.MaxResults, in.NextToken)
	return &ec2.DescribeImageUsageReportsOutput{ImageUsageReports: page, NextToken: next}, err
}

func (w *World) describeImageUsageReportEntries(
	c *Call, in *ec2.DescribeImageUsageReportEntriesInput,
) (*ec2.DescribeImageUsageReportEntriesOutput, error) {
	if err := refuseUnmodeled(in, "ImageIds", "ReportIds", "MaxResults", "NextToken"); err != nil {
		return nil, err
	}
	if err := w.authorize(c, newAuthorizationOnAll(c)); err != nil {
		return nil, err
	}

	var all []types.ImageUsageReportEntry
	for _, r := range w.findUsageReports(c, in.ImageIds, in.ReportIds) {
		if !w.violates(c, "9.26", r.stateAt(c.At) != "available") {
			all = append(all, r.entries...)
		}
	}
	page, next, err := paginate(all, in.MaxResults, in.NextToken)
	return &ec2.DescribeImageUsageReportEntriesOutput{ImageUsageReportEntries: page, NextToken: next}, err
}
