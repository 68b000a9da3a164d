// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	lmtypes "github.com/aws/aws-sdk-go-v2/service/licensemanager/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// AssociateLicenseConfigurations associates an image with license configurations, so that License Manager counts its
// launches.
type AssociateLicenseConfigurations struct {
	Base
	Image Ref
	Name  string   // of the image, for messages
	ARNs  []string // of license configurations in the Region of the image, sorted
}

func (s *AssociateLicenseConfigurations) Permissions() []Permission {
	var needed []Permission
	for _, arn := range s.ARNs {
		needed = append(needed, Permission{"license-manager:UpdateLicenseSpecificationsForResource", arn, "9.0"})
	}
	return append(needed, Permission{"license-manager:ListLicenseSpecificationsForResource", "*", "9.0"})
}

func (s *AssociateLicenseConfigurations) ResourceID() string { return s.Image.Known }

func (s *AssociateLicenseConfigurations) String() string {
	return fmt.Sprintf("associate %q in %s with %s", s.Name, s.Location, strings.Join(s.ARNs, ", "))
}

func (s *AssociateLicenseConfigurations) Doing(w Words) string {
	added := distribution.Count(len(s.ARNs), "license configuration", "license configurations")
	return fmt.Sprintf("Associating %s with %s in %s", w.Image(s.Image), added, w.Location(s.Location))
}

func (s *AssociateLicenseConfigurations) Summary() Summary { return attributeSummary() }

func (s *AssociateLicenseConfigurations) Role() Role { return CompletesImage }

var _ = register(&AssociateLicenseConfigurations{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*AssociateLicenseConfigurations).start(env) },
})

func (s *AssociateLicenseConfigurations) start(env Env) Attempt {
	client := env.Clients.LicenseManager(s.Location)
	return &associateLicenses{
		step:       s,
		listCall:   client.ListLicenseSpecificationsForResource,
		updateCall: client.UpdateLicenseSpecificationsForResource,
		imageID:    env.ID(s.Image),
	}
}

// licenseCall is one operation of a client. An attempt that held the client would link all its operations into the
// plugin.
type licenseCall[In, Out any] func(context.Context, In, ...func(*licensemanager.Options)) (Out, error)

type associateLicenses struct {
	step     *AssociateLicenseConfigurations
	listCall licenseCall[
		*licensemanager.ListLicenseSpecificationsForResourceInput,
		*licensemanager.ListLicenseSpecificationsForResourceOutput,
	]
	updateCall licenseCall[
		*licensemanager.UpdateLicenseSpecificationsForResourceInput,
		*licensemanager.UpdateLicenseSpecificationsForResourceOutput,
	]
	imageID string
	changed bool
	wait    consistencyWait
}

// Do adds the license configurations that the image does not have, and reads them back.
func (a *associateLicenses) Do(ctx context.Context) (Outcome, error) {
	outcome := Outcome{ID: a.imageID}
	missing, err := a.missing(ctx)
	switch {
	case err != nil || len(missing) == 0:
		return outcome, err
	case a.changed:
		shown := strings.Join(missing, ", ")
		return outcome, a.wait.retry(fmt.Errorf("AWS does not show %s as associated with %s", shown, a.imageID))
	}

	in := &licensemanager.UpdateLicenseSpecificationsForResourceInput{ResourceArn: aws.String(a.imageARN())}
	for _, arn := range missing {
		added := lmtypes.LicenseSpecification{LicenseConfigurationArn: aws.String(arn)}
		in.AddLicenseSpecifications = append(in.AddLicenseSpecifications, added)
	}

	if _, err := a.updateCall(ctx, in); err != nil {
		return outcome, err
	}

	a.changed = true
	return outcome, RetryAfter{}
}

// missing returns the license configurations that the image is not associated with.
func (a *associateLicenses) missing(ctx context.Context) ([]string, error) {
	missing := slices.Clone(a.step.ARNs)
	in := &licensemanager.ListLicenseSpecificationsForResourceInput{ResourceArn: aws.String(a.imageARN())}
	for {
		page, err := a.listCall(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, has := range page.LicenseSpecifications {
			arn := aws.ToString(has.LicenseConfigurationArn)
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == arn })
		}
		if page.NextToken == nil {
			return missing, nil
		}
		in.NextToken = page.NextToken
	}
}

func (a *associateLicenses) imageARN() string { return a.step.Location.ImageARN(a.imageID) }
