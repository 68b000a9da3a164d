// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// fleet is a template that copies and shares "base-1", with grants only on request.
const fleet = `
variable "base" { type = string }
variable "grants" { type = list(string) }
` + underNull + `
    kms_key_id    = "alias/golden-source"
    existing_amis = { "ap-northeast-1" = var.base }
    poll_interval = "1s"

    target {
` + prod + `
      dynamic "kms_grant" {
        for_each = var.grants
        content {
          name = kms_grant.value
        }
      }
    }

    share {
      account_ids = ["999999999999"]
    }

    dynamic "share" {
      for_each = var.grants
      content {
        account_ids = ["999999999999"]
` + prodRole + `
        kms_grant {
          name = share.value
        }
      }
    }
  }
}
`

// Auto Scaling launches the target's copy under the target's key, and the shared image under the source's key. Each
// launch needs its grant.
func TestAutoScaling_launchesWithGrants(t *testing.T) {
	h, inside := newHostInside(t, fleet)
	w := h.World
	linked := must(iam.NewFromConfig(w.Config(target, region)).
		CreateServiceLinkedRole(t.Context(), &iam.CreateServiceLinkedRoleInput{
			AWSServiceName: aws.String("autoscaling.amazonaws.com"),
		}))(t)
	service := ec2.NewFromConfig(must(inside.ServiceConfig(*linked.Role.Arn, region))(t))
	base := "-var=base=" + *image(t, w, source, "base-1").ImageId
	for _, row := range []struct{ grants, ends string }{
		{`[]`, "terminated Client.InvalidKMSKey.InvalidState"},
		{`["fleet"]`, "running "},
	} {
		h.packer(t, 0, "build", "-color=false", base, "-var=grants="+row.grants, ".")
		shared := must(
			w.ec2(target).DescribeImages(t.Context(), &ec2.DescribeImagesInput{ExecutableUsers: []string{"self"}}),
		)(t).Images
		if len(shared) != 1 || *shared[0].OwnerId != source {
			t.Fatalf("%d images are shared with the other account", len(shared))
		}
		for name, id := range map[string]*string{
			"the copy":         image(t, w, target, "base-1").ImageId,
			"the shared image": shared[0].ImageId,
		} {
			if ends := launched(t, service, id); ends != row.ends {
				t.Errorf("grants %s: %s: %s, want %s", row.grants, name, ends, row.ends)
			}
		}
	}
}

// launched returns the final state of an instance that a service launched, and AWS's reason.
func launched(t *testing.T, service *ec2.Client, image *string) string {
	t.Helper()
	made := must(service.RunInstances(
		t.Context(),
		&ec2.RunInstancesInput{
			ImageId:      image,
			InstanceType: types.InstanceTypeT3Micro,
			MinCount:     aws.Int32(1),
			MaxCount:     aws.Int32(1),
		},
	))(t)
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(50 * time.Millisecond) {
		seen := must(service.DescribeInstances(t.Context(), &ec2.DescribeInstancesInput{
			InstanceIds: []string{*made.Instances[0].InstanceId},
		}))(t).Reservations[0].Instances[0]
		if seen.State.Name == types.InstanceStateNamePending {
			continue
		}
		reason := ""
		if seen.StateReason != nil {
			reason = aws.ToString(seen.StateReason.Code)
		}
		return fmt.Sprintf("%s %s", seen.State.Name, reason)
	}
	return "pending"
}
