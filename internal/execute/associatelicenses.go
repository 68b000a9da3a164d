// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/licensemanager"
	lmtypes "github.com/aws/aws-sdk-go-v2/service/licensemanager/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// associateLicenses adds the license configurations that an image does not have yet, and reads them back.
func (t *transfer) associateLicenses(ctx context.Context, j *stepRun, s *step.AssociateLicenseConfigurations) StepOutcome {
	id := j.id(s.Image)
	client, image := t.pool.LicenseManager(s.Location), aws.String(s.ImageARN(id))
	missing := slices.Clone(s.ARNs)
	ask := &licensemanager.ListLicenseSpecificationsForResourceInput{ResourceArn: image}
	for more := true; more; more = ask.NextToken != nil {
		page, err := client.ListLicenseSpecificationsForResource(ctx, ask)
		if err != nil {
			return StepOutcome{Made: id, Err: err}
		}
		for _, has := range page.LicenseSpecifications {
			missing = slices.DeleteFunc(missing, func(arn string) bool { return arn == aws.ToString(has.LicenseConfigurationArn) })
		}
		ask.NextToken = page.NextToken
	}
	switch {
	case len(missing) == 0:
		return StepOutcome{Made: id}
	case j.memo.changed && j.patient(): // not seen yet (4.4.1)
		return StepOutcome{Err: retryAfter{backoff(j.memo.looks)}}
	case j.memo.changed:
		return StepOutcome{Made: id, Err: fmt.Errorf("AWS does not show %s as associated with %s", strings.Join(missing, ", "), id)}
	}
	in := &licensemanager.UpdateLicenseSpecificationsForResourceInput{ResourceArn: image}
	for _, arn := range missing {
		in.AddLicenseSpecifications = append(in.AddLicenseSpecifications, lmtypes.LicenseSpecification{LicenseConfigurationArn: aws.String(arn)})
	}
	if _, err := client.UpdateLicenseSpecificationsForResource(ctx, in); err != nil {
		return StepOutcome{Made: id, Err: err}
	}
	j.memo.changed = true
	return StepOutcome{Err: retryAfter{}}
}
