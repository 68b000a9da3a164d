// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TestImageUsageReport_otherAccounts covers rules 9.25 and 9.26. A report lists the uses of other accounts, some
// minutes after it was requested.
func TestImageUsageReport_otherAccounts(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		data := &types.RequestLaunchTemplateData{ImageId: &image}
		for _, account := range []string{owner, member} {
			client := f.inLocation(account, home).ec2
			requireNoError(client.CreateLaunchTemplate(f.Context(), &ec2.CreateLaunchTemplateInput{
				LaunchTemplateName: aws.String("golden"), LaunchTemplateData: data,
			}))(f)
		}

		report := requireOutput(f.ec2.CreateImageUsageReport(f.Context(), &ec2.CreateImageUsageReportInput{
			ImageId: &image,
			ResourceTypes: []types.ImageUsageResourceTypeRequest{
				{ResourceType: aws.String("ec2:Instance")}, {ResourceType: aws.String("ec2:LaunchTemplate")},
			},
		}))(f).ReportId
		entries := func() []types.ImageUsageReportEntry {
			return requireOutput(f.ec2.DescribeImageUsageReportEntries(f.Context(),
				&ec2.DescribeImageUsageReportEntriesInput{ReportIds: []string{*report}}))(f).ImageUsageReportEntries
		}
		expectEqual(f, "entries of a pending report (9.26)", len(entries()), 0)
		time.Sleep(time.Hour)
		expectEqual(f, "entries", len(entries()), 1) // 9.25
		expectEqual(f, "account", *entries()[0].AccountId, member)

		reports := requireOutput(f.ec2.DescribeImageUsageReports(f.Context(),
			&ec2.DescribeImageUsageReportsInput{ImageIds: []string{image}}))(f).ImageUsageReports
		expectEqual(f, "state", *reports[0].State, "available")
		time.Sleep(31 * 24 * time.Hour)
		reports = requireOutput(f.ec2.DescribeImageUsageReports(f.Context(),
			&ec2.DescribeImageUsageReportsInput{ImageIds: []string{image}}))(f).ImageUsageReports
		expectEqual(f, "reports after 30 days", len(reports), 0)
	})
}
