// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// An account without a default VPC needs a subnet. A filter that finds none is reported before the copies.
func TestDecide_subnetFilter(t *testing.T) {
	denied := &distribution.APIError{Operation: "ec2:DescribeSubnets", Code: "UnauthorizedOperation"}
	for want, subnet := range map[string]distribution.SubnetFacts{
		"":                              {ID: "subnet-0123456789abcdef0"},
		"no subnet matches the filters": {},
		"the subnets cannot be listed":  {Err: denied},
	} {
		req, facts := world()
		req.Targets[0].LaunchCheck = &distribution.LaunchCheck{
			InstanceType:  "t4g.micro",
			SubnetFilters: map[string]string{"tag:Tier": "private"},
		}
		for at, site := range facts.Sites {
			site.Subnet = subnet
			facts.Sites[at] = site
		}
		p := plan.Assess(req, facts).Decide()
		var summaries []string
		for _, f := range p.Findings {
			if strings.HasSuffix(f.Field, "launch_check: subnet_filter") {
				summaries = append(summaries, f.Summary)
			}
		}
		if want != "" {
			if len(summaries) != 6 || summaries[0] != want || !p.Refused() {
				t.Errorf("got the findings %q, want %q for each of 6 destinations", summaries, want)
			}
			continue
		}
		launches := 0
		for _, s := range p.Steps {
			if run, ok := s.(*step.RunInstance); ok {
				launches++
				if run.SubnetID != subnet.ID {
					t.Errorf("%s: got the subnet %q, want %s", run.ID, run.SubnetID, subnet.ID)
				}
			}
		}
		if len(summaries) > 0 || launches != 6 {
			t.Errorf("got %d launches and the findings %q", launches, summaries)
		}
	}
}
