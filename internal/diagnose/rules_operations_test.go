// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package diagnose

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// calledOperations are the operations that the plugin calls, and those that AWS calls for it and whose errors it gets.
var calledOperations = strings.Fields(`
	autoscaling:StartInstanceRefresh
	ec2:AttachImageWatermark
	ec2:CopyImage ec2:CopySnapshot ec2:CreateLaunchTemplateVersion ec2:CreateSnapshot ec2:CreateTags ec2:CreateVolume
	ec2:DeleteSnapshot ec2:DeleteTags ec2:DeleteVolume ec2:DeregisterImage ec2:DescribeAvailabilityZones
	ec2:DescribeFastLaunchImages ec2:DescribeImageAttribute ec2:DescribeImages ec2:DescribeInstances
	ec2:DescribeLaunchTemplateVersions ec2:DescribeLaunchTemplates ec2:DescribeRegions ec2:DescribeSnapshotAttribute
	ec2:DescribeSnapshots ec2:DescribeVolumes ec2:DisableImage
	ec2:DisableImageDeregistrationProtection ec2:EnableFastLaunch
	ec2:EnableImageDeprecation ec2:EnableImageDeregistrationProtection ec2:GetAllowedImagesSettings
	ec2:GetEbsDefaultKmsKeyId ec2:GetEbsEncryptionByDefault ec2:ModifyImageAttribute ec2:ModifyLaunchTemplate
	ec2:ModifySnapshotAttribute ec2:RegisterImage ec2:RunInstances ec2:TerminateInstances
	kms:CreateGrant kms:Decrypt kms:DescribeKey kms:GetKeyPolicy kms:ListGrants kms:RevokeGrant
	license-manager:ListLicenseSpecificationsForResource license-manager:UpdateLicenseSpecificationsForResource
	organizations:ListAccountsForParent organizations:ListParents
	ssm:AddTagsToResource ssm:GetParameter ssm:PutParameter
	sts:AssumeRole sts:AssumeRoleWithWebIdentity sts:GetCallerIdentity`)

const (
	everyKMSOperation = "kms:CreateGrant kms:Decrypt kms:DescribeKey kms:GetKeyPolicy kms:ListGrants kms:RevokeGrant"
	everySTSOperation = "sts:AssumeRole sts:AssumeRoleWithWebIdentity sts:GetCallerIdentity"
	assumingARole     = "sts:AssumeRole sts:AssumeRoleWithWebIdentity"
	copying           = "ec2:CopySnapshot ec2:CopyImage"
	ofAnImage         = "ec2:CopyImage ec2:CreateTags ec2:DeleteTags ec2:DeregisterImage ec2:DescribeImageAttribute " +
		"ec2:DescribeImages ec2:DisableImageDeregistrationProtection ec2:EnableFastLaunch ec2:EnableImageDeprecation " +
		"ec2:EnableImageDeregistrationProtection ec2:ModifyImageAttribute ec2:RunInstances"
	ofAnOwner = "ec2:DeregisterImage ec2:DisableImageDeregistrationProtection ec2:EnableImageDeprecation " +
		"ec2:EnableImageDeregistrationProtection ec2:ModifyImageAttribute"
	ofATemplate = "ec2:CreateLaunchTemplateVersion ec2:DescribeLaunchTemplateVersions ec2:DescribeLaunchTemplates " +
		"ec2:ModifyLaunchTemplate"
	ofASnapshot = "ec2:CopySnapshot ec2:CreateTags ec2:CreateVolume ec2:DeleteSnapshot ec2:DeleteTags " +
		"ec2:DescribeSnapshots ec2:RegisterImage ec2:RunInstances"
)

// sharedExplanations lists further operations that the explanation of a case applies to, by the beginning of the title
// of the case. A case without an entry applies to its own operation only.
var sharedExplanations = map[string]string{
	"1.8.1 CopySnapshot, the key":          copying,
	"1.8.2 CopySnapshot, the key":          copying,
	"1.8.3 CopySnapshot, caller":           copying,
	"1.8.3 the same":                       copying,
	"1.8.4 ":                               copying,
	"1.8.5 CopyImage":                      "ec2:DescribeImages",
	"1.8.6 CreateVolume":                   "ec2:CreateVolume",
	"1.1.11 ":                              copying + " ec2:CreateVolume ec2:RunInstances",
	"1.4.8 CopyImage":                      copying,
	"2.1.6 changing nothing":               "ec2:ModifyImageAttribute",
	"2.1.6 no operation":                   "ec2:ModifyImageAttribute",
	"2.1.6 sharing with what is no":        "ec2:ModifyImageAttribute",
	"2.1.6 two attributes":                 "ec2:ModifySnapshotAttribute",
	"2.1.6 a bad account":                  "ec2:ModifySnapshotAttribute",
	"2.1.7 sharing another account's":      "ec2:DescribeSnapshotAttribute",
	"2.2.11 reading an attribute of":       ofAnOwner,
	"2.5.2 ":                               "ec2:CopyImage",
	"2.5.3 ":                               "ec2:CopyImage",
	"2.5.4 ":                               ofASnapshot,
	"2.5.9 ":                               ofAnImage,
	"2.5.10 an image":                      ofAnImage,
	"2.5.10 an id":                         ofAnImage + " " + ofASnapshot,
	"3.2.1 the source key's policy":        everyKMSOperation,
	"3.2.1 the policy of a third":          everyKMSOperation,
	"3.2.1 the target key's policy":        "*",
	"3.4 ":                                 everyKMSOperation,
	"3.4.1 ":                               everyKMSOperation,
	"3.4.2 ":                               everyKMSOperation,
	"3.4.3 ":                               everyKMSOperation,
	"3.7 what KMS":                         everyKMSOperation,
	"3.7 KMS is in trouble":                "*",
	"3.7 SSM is in trouble":                "*",
	"4.1.4 too many snapshots":             copying + " ec2:CreateSnapshot",
	"4.1.4 too many pending":               copying + " ec2:CreateSnapshot",
	"4.2.1 ":                               "*",
	"4.2.3 ":                               "ec2:CreateLaunchTemplateVersion ec2:CreateVolume ec2:RunInstances",
	"4.6.5 ":                               copying,
	"5.1 ":                                 assumingARole,
	"5.2 ":                                 assumingARole,
	"5.4 EC2":                              "ec2:*",
	"5.11 ":                                "*",
	"5.4 ":                                 "*",
	"5.5 ":                                 assumingARole,
	"5.6 AssumeRole: the trust policy":     assumingARole,
	"5.6 AssumeRole":                       assumingARole,
	"5.6 a session policy":                 assumingARole,
	"5.6 session policies":                 assumingARole,
	"5.8 STS is off":                       everySTSOperation,
	"5.8 the target does not use":          "*",
	"5.8 EC2 does not know":                "ec2:*",
	"5.8 KMS does not know":                "*",
	"5.10 ":                                everySTSOperation,
	"6.2 AssumeRole: denied by the trust":  assumingARole,
	"6.2 ":                                 "*",
	"7.5 ":                                 "ec2:RunInstances",
	"7.8 several writers":                  "ssm:AddTagsToResource",
	"A.4.12 a launch template":             ofATemplate,
	"A.4.12 a version":                     ofATemplate,
	"- a refusal that no rule names":       "*",
	"- missing credentials":                "*",
	"- a copy that failed for an unknown ": "*",
	"- a call that did not come through":   "*",
}

// explainedOperations returns the list of operations that have the explanation of a case.
func (c titledCase) explainedOperations() string {
	longest := ""
	for title := range sharedExplanations {
		if strings.HasPrefix(c.title, title) && len(title) > len(longest) {
			longest = title
		}
	}
	return c.Refusal.Operation + " " + sharedExplanations[longest]
}

// The same error code has another meaning for another operation. A rule explains only the operations that it names.
func TestRules_otherOperations(t *testing.T) {
	for _, c := range cases {
		own, list := newMatch(c.Case).rule(), c.explainedOperations()
		for _, operation := range calledOperations {
			service, _, _ := strings.Cut(operation, ":")
			named := strings.Fields(list)
			want := slices.Contains(named, operation) || slices.Contains(named, service+":*") || slices.Contains(named, "*")

			other := c.Case
			other.Refusal.Operation = operation
			if got := newMatch(other).rule() == own; got != want {
				t.Errorf("%s: the explanation %q of %s is given for %s: got %v, want %v",
					c.title, own.summary, c.Refusal.Operation, operation, got, want)
			}
		}
	}
}

// MissingParameter of a launch must not get the explanation for ModifyImageAttribute.
func TestExplain_missingParameterOfLaunch(t *testing.T) {
	f := Explain(inTarget(nil, "ec2:RunInstances", 400, "MissingParameter",
		"The request must contain the parameter size or snapshotId"))
	if strings.Contains(f.Detail, "imdsSupport") || f.Reference != "" {
		t.Errorf("got the explanation of another operation: %q", f.Detail)
	}
}

func TestExplain_endpointIsNotAWS(t *testing.T) {
	refusals := []distribution.APIError{
		{
			Operation: "ec2:EnableFastLaunch", Status: 400, Code: "InvalidAction",
			Message: "The action EnableFastLaunch is not valid for this web service.",
		},
		{Operation: "kms:CreateGrant", Status: 400, Code: "UnknownOperationException"},
		{
			Operation: "ec2:CopySnapshot", Status: http.StatusNotImplemented, Code: "InternalFailure",
			Message: "The copy_snapshot action has not been implemented",
		},
	}
	for _, refusal := range refusals {
		f := Explain(Case{Refusal: refusal, At: atTarget})
		if f.Summary != "the endpoint is not AWS" || strings.Contains(f.Remediation, "reference") {
			t.Errorf("%s: got %q, next %q", refusal.Code, f.Summary, f.Remediation)
		}
	}
}
