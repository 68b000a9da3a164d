// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	lmtypes "github.com/aws/aws-sdk-go-v2/service/licensemanager/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// licensed creates a license configuration in an account and returns its ARN.
func (h *testWorld) licensed(account, region string) string {
	h.t.Helper()
	made, err := licensemanager.NewFromConfig(h.Config(account, region)).
		CreateLicenseConfiguration(h.t.Context(), &licensemanager.CreateLicenseConfigurationInput{
			Name: aws.String("per instance"), LicenseCountingType: lmtypes.LicenseCountingTypeInstance,
		})
	h.must(err)
	return aws.ToString(made.LicenseConfigurationArn)
}

// licensesOf returns the ARNs of the license configurations of an image.
func (h *testWorld) licensesOf(account, region, image string) (arns []string) {
	h.t.Helper()
	in := &licensemanager.ListLicenseSpecificationsForResourceInput{
		ResourceArn: aws.String("arn:aws:ec2:" + region + "::image/" + image),
	}
	for more := true; more; more = in.NextToken != nil {
		out, err := licensemanager.NewFromConfig(h.Config(account, region)).
			ListLicenseSpecificationsForResource(h.t.Context(), in)
		h.must(err)
		for _, has := range out.LicenseSpecifications {
			arns = append(arns, aws.ToString(has.LicenseConfigurationArn))
		}
		in.NextToken = out.NextToken
	}
	return arns
}

// The run associates the missing license configurations once, even if a response is lost. Other associations stay.
func TestAssociateLicenses_onceEach(t *testing.T) {
	for _, fault := range []awssim.Fault{"", awssim.LostResponse, awssim.Throttled} {
		synctest.Test(t, func(t *testing.T) {
			h := build(t, mixed[1:2], []string{target}, []string{home})
			first, second := h.licensed(target, home), h.licensed(target, home)
			if fault != "" {
				h.Inject(awssim.FaultRule{Fault: fault, Action: "license-manager:UpdateLicenseSpecificationsForResource", Times: 1})
			}
			for i, want := range [][]string{{first}, {first}, {second, first}, {first, second}} {
				req := h.request()
				for _, arn := range want {
					req.Targets[0].Licenses = append(req.Targets[0].Licenses, distribution.Text(arn))
				}
				_, result := h.run(t.Context(), req)
				if len(result.Images) != 1 || len(result.Findings) > 0 {
					t.Fatalf("run %d: %+v", i, result.Findings)
				}
				slices.Sort(want)
				if got := h.licensesOf(target, home, result.Images[0].ImageID); !slices.Equal(got, want) {
					t.Errorf("run %d: counted by %v, want %v", i, got, want)
				}
			}
			if calls := h.calls("license-manager:UpdateLicenseSpecificationsForResource"); fault == "" && calls != 2 {
				t.Errorf("%d calls", calls)
			}
		})
	}
}

// A missing permission or license configuration fails its destination, and the finding says why.
// A license configuration of another Region is refused before anything is created.
func TestAssociateLicenses_failureReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{target}, []string{home})
		req, arn := h.request(), h.licensed(target, home)
		req.Targets[0].Licenses = []distribution.Text{distribution.Text(strings.Replace(arn, home, "{{ .Region }}", 1))}
		h.forbid(target, "license-manager:UpdateLicenseSpecificationsForResource")
		_, result := h.run(t.Context(), req)
		if len(result.Images) != 0 || len(result.Findings) != 1 {
			t.Fatalf("without the permission: %+v, %+v", result.Images, result.Findings)
		}
		at := distribution.Location{Account: target, Region: home}
		if f := result.Findings[0]; f.Operation != "license-manager:UpdateLicenseSpecificationsForResource" ||
			f.Location != at || !strings.Contains(f.Principal, roleName) || !strings.Contains(f.AWSMessage, "explicit deny") ||
			f.Resource != strings.Replace(arn, "{{ .Region }}", home, 1) || f.Remediation == "" {
			t.Errorf("without the permission: %+v", f)
		}
		h.forgive(target)
		req.Targets[0].Licenses = []distribution.Text{distribution.Text(arn[:len(arn)-4] + "ffff")}
		_, result = h.run(t.Context(), req)
		if len(result.Findings) != 1 || !strings.Contains(result.Findings[0].Summary, "rejected the license configuration") {
			t.Errorf("one that is not there: %+v", result.Findings)
		}
		for _, wrong := range []string{strings.Replace(arn, home, away, 1), "{{ .AccountId }}"} {
			req.Targets[0].Licenses = []distribution.Text{distribution.Text(wrong)}
			p := h.decided(t.Context(), h.pool(t.Context(), h.World), req)
			if !slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool {
				return f.Level == distribution.Refused && strings.HasSuffix(f.Field, "license_configuration_arns")
			}) {
				t.Errorf("%s: %+v", wrong, p.Findings)
			}
		}
	})
}
