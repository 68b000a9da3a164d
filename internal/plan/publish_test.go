// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// The step that publishes an image depends on its verification. The plan has no step if the image is published already.
// It refuses what cannot be published.
func TestDecide_publication(t *testing.T) {
	name := distribution.Parameter{
		Name:      "/golden/{{ .Region }}/ami",
		Type:      "String",
		DataType:  "aws:ec2:image",
		Overwrite: true,
	}
	secret := distribution.Parameter{
		Name:      "/golden/secret",
		Type:      "SecureString",
		DataType:  "text",
		KeyID:     "alias/golden-" + tokyo,
		Tier:      "Advanced",
		Tags:      map[string]distribution.Text{"from": "{{ .AMI }}"},
		Overwrite: true,
	}
	strict := name
	strict.Overwrite = false
	stored := func(seen distribution.ParameterFacts) func(*distribution.Request, *distribution.Facts) {
		return func(_ *distribution.Request, f *distribution.Facts) {
			site := f.Sites[there]
			site.Parameters = map[string]distribution.ParameterFacts{"/golden/" + tokyo + "/ami": seen}
			f.Sites[there] = site
		}
	}
	const ours, older = "ami-0ccccccccccccccc1", "ami-0ddddddddddddddd1"
	var out strings.Builder
	for _, c := range []struct {
		name       string
		world      func() (distribution.Request, distribution.Facts)
		parameters []distribution.Parameter
		change     func(*distribution.Request, *distribution.Facts)
	}{
		{"none yet", finished, []distribution.Parameter{name, secret}, stored(distribution.ParameterFacts{})},
		{
			"before there is an image",
			earlier,
			[]distribution.Parameter{name},
			func(*distribution.Request, *distribution.Facts) {},
		},
		{
			"it names the image of the release before",
			finished,
			[]distribution.Parameter{name},
			stored(distribution.ParameterFacts{
				Type:     "String",
				DataType: "aws:ec2:image",
				ImageID:  older,
			}),
		},
		{"it names the image already", finished, []distribution.Parameter{name}, stored(distribution.ParameterFacts{
			Type:     "String",
			DataType: "aws:ec2:image",
			ImageID:  ours,
		})},
		{
			"it names the image already, and must not be overwritten",
			finished,
			[]distribution.Parameter{strict},
			stored(distribution.ParameterFacts{
				Type:     "String",
				DataType: "aws:ec2:image",
				ImageID:  ours,
			}),
		},
		{
			"it names another image, and must not be overwritten",
			finished,
			[]distribution.Parameter{strict},
			stored(distribution.ParameterFacts{
				Type:     "String",
				DataType: "aws:ec2:image",
				ImageID:  older,
			}),
		},
		{"of another data type", finished, []distribution.Parameter{name}, stored(distribution.ParameterFacts{
			Type:     "String",
			DataType: "text",
			ImageID:  older,
		})},
		{"of another type", finished, []distribution.Parameter{name}, stored(distribution.ParameterFacts{
			Type:     "SecureString",
			DataType: "text",
		})},
		{"it may not be looked at", finished, []distribution.Parameter{name}, stored(distribution.ParameterFacts{
			Err: &distribution.APIError{
				Operation: "ssm:GetParameter",
				Status:    400,
				Code:      "AccessDeniedException",
				Message:   "no",
			},
		})},
		{
			"its key is disabled",
			finished,
			[]distribution.Parameter{secret},
			func(r *distribution.Request, f *distribution.Facts) {
				disabled := key(there.Account, tokyo, "own")
				disabled.Metadata.KeyState = kmstypes.KeyStateDisabled
				f.Keys[there]["alias/parameters"] = disabled
				r.Targets[0].Parameters[0].KeyID = "alias/parameters"
			},
		},
		{"a rendered name that AWS does not take", finished, []distribution.Parameter{{
			Name:     "/golden/{{ .AMIName }}",
			Type:     "String",
			DataType: "text",
		}}, func(*distribution.Request, *distribution.Facts) {}},
		{"one name twice", finished, []distribution.Parameter{secret, {
			Name:     "golden-{{ .Region }}",
			Type:     "String",
			DataType: "text",
		}, {
			Name:     "/golden-" + tokyo,
			Type:     "String",
			DataType: "text",
		}}, func(*distribution.Request, *distribution.Facts) {}},
	} {
		req, facts := c.world()
		req.Targets[0].Parameters = c.parameters
		c.change(&req, &facts)
		if reflect.ValueOf(facts.Sites[there].Parameters["/golden/"+tokyo+"/ami"]).IsZero() {
			delete(facts.Sites[there].Parameters, "/golden/"+tokyo+"/ami")
		}
		fmt.Fprintf(&out, "# %s\n", c.name)
		writePointers(t, &out, plan.Assess(req, facts).Decide())
	}
	golden.Equal(t, "testdata/pointers.golden", out.String())
}

// writePointers writes the references that a plan publishes for the image of its first destination.
func writePointers(t *testing.T, out *strings.Builder, p plan.Plan) {
	t.Helper()
	inOrder(t, p.Steps)
	for _, f := range p.Findings {
		fmt.Fprint(out, written(f))
	}
	for _, pointer := range p.Destinations[0].Pointers {
		fmt.Fprintf(out, "%s, set: %v\n", pointer, pointer.Set)
	}
	for _, s := range p.Steps {
		if _, publishes := s.Pointer(); publishes {
			fmt.Fprintf(out, "%s: %s\n  needs %v\n  %v\n", s.Meta().ID, s, s.Meta().DependsOn, s.Permissions())
		}
	}
}

func TestDecide_launchTemplateVersion(t *testing.T) {
	const ours, id = "ami-0ccccccccccccccc1", "lt-0123456789abcdef0"
	asked := distribution.LaunchTemplate{
		Template:    "web-{{ .Region }}",
		Source:      "$Default",
		Description: "of {{ .AMI }}",
	}
	first := asked
	first.SetDefault = true
	var out strings.Builder
	for _, c := range []struct {
		name      string
		world     func() (distribution.Request, distribution.Facts)
		templates []distribution.LaunchTemplate
		stands    distribution.LaunchTemplateFacts
	}{
		{"before there is an image", earlier, []distribution.LaunchTemplate{asked}, distribution.LaunchTemplateFacts{
			ID:      id,
			Default: 3,
			Source:  3,
		}},
		{"and the default", earlier, []distribution.LaunchTemplate{first}, distribution.LaunchTemplateFacts{
			ID:      id,
			Default: 3,
			Source:  3,
		}},
		{"a version names it already", finished, []distribution.LaunchTemplate{asked}, distribution.LaunchTemplateFacts{
			ID:      id,
			Default: 3,
			Source:  3,
			Naming:  map[string][]int64{ours: {5, 6}},
		}},
		{
			"a version names it already, and is not the default",
			finished,
			[]distribution.LaunchTemplate{first},
			distribution.LaunchTemplateFacts{
				ID:      id,
				Default: 3,
				Source:  3,
				Naming:  map[string][]int64{ours: {5, 6}},
			},
		},
		{"the default names it already", finished, []distribution.LaunchTemplate{first}, distribution.LaunchTemplateFacts{
			ID:      id,
			Default: 6,
			Source:  6,
			Naming:  map[string][]int64{ours: {5, 6}},
		}},
		{"another image is named", finished, []distribution.LaunchTemplate{asked}, distribution.LaunchTemplateFacts{
			ID:      id,
			Default: 6,
			Source:  6,
			Naming:  map[string][]int64{"ami-0ddddddddddddddd1": {6}},
		}},
		{"there is none", earlier, []distribution.LaunchTemplate{asked}, distribution.LaunchTemplateFacts{
			Err: &distribution.APIError{
				Operation: "ec2:DescribeLaunchTemplates",
				Status:    400,
				Code:      "InvalidLaunchTemplateName.NotFoundException",
				Message:   "does not exist",
			},
		}},
		{"it may not be looked at", earlier, []distribution.LaunchTemplate{asked}, distribution.LaunchTemplateFacts{
			Err: &distribution.APIError{
				Operation: "ec2:DescribeLaunchTemplates",
				Status:    403,
				Code:      "UnauthorizedOperation",
				Message:   "no",
			},
		}},
		{"named twice", earlier, []distribution.LaunchTemplate{asked, first}, distribution.LaunchTemplateFacts{
			ID:      id,
			Default: 3,
			Source:  3,
		}},
	} {
		req, facts := c.world()
		req.Targets[0].Templates = c.templates
		site := facts.Sites[there]
		site.Templates = map[string]distribution.LaunchTemplateFacts{"web-" + tokyo: c.stands}
		facts.Sites[there] = site
		fmt.Fprintf(&out, "# %s\n", c.name)
		writePointers(t, &out, plan.Assess(req, facts).Decide())
	}
	golden.Equal(t, "testdata/templates.golden", out.String())
}

// With publish = "all", every publish step depends on one step, which depends on the verification of all required
// destinations. There is no such step if everything is published.
func TestDecide_publishAll(t *testing.T) {
	for _, c := range []struct {
		name string
		all  bool
		want []distribution.StepID
	}{
		{"each", false, nil},
		{"all", true, []distribution.StepID{"verify/444444444444/" + tokyo, "verify/555555555555/" + tokyo}},
	} {
		req, facts := world()
		req.PublishAll = c.all
		req.Targets[0].Regions, req.Targets[0].Parameters = nil, []distribution.Parameter{{
			Name:      "golden",
			Type:      "String",
			DataType:  "text",
			Overwrite: true,
		}}
		optional := req.Targets[0]
		optional.Name, optional.Optional, optional.AccountIDs = "optional", true, others[2:]
		req.Targets[0].AccountIDs = others[:2]
		req.Targets = append(req.Targets, optional)
		p := plan.Assess(req, facts).Decide()
		inOrder(t, p.Steps)
		var got []distribution.StepID
		for _, s := range p.Steps {
			if all, is := s.(*step.PublishBarrier); is {
				got = all.DependsOn
			}
			if _, points := s.Pointer(); points && slices.Contains(s.Meta().DependsOn, "publish/all") != c.all {
				t.Errorf("%s: %s needs %v", c.name, s.Meta().ID, s.Meta().DependsOn)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: the barrier depends on %v, want %v", c.name, got, c.want)
		}
	}
	req, facts := finished()
	req.PublishAll, req.Targets[0].Parameters = true, []distribution.Parameter{{
		Name:      "golden",
		Type:      "String",
		DataType:  "text",
		Overwrite: true,
	}}
	site := facts.Sites[there]
	site.Parameters = map[string]distribution.ParameterFacts{"golden": {
		Type:     "String",
		DataType: "text",
		ImageID:  "ami-0ccccccccccccccc1",
	}}
	facts.Sites[there] = site
	if steps := plan.Assess(req, facts).Decide().Steps; len(steps) != 1 {
		t.Errorf("all is published: %v", steps)
	}
}
