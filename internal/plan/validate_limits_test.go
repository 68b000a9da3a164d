// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/limitsamples"
)

// renderedText is an option of the template that takes its value from the build.
const renderedText distribution.Text = "{{ build_name }}"

// limitWorld is a world with one destination.
type limitWorld struct {
	req   distribution.Request
	facts distribution.Facts
	at    distribution.Location
}

func newLimitWorld() *limitWorld {
	w := &limitWorld{at: distribution.Location{Account: "999999999999", Region: tokyo}}
	w.req, w.facts = world()
	w.req.Targets[0].AccountIDs, w.req.Targets[0].Regions = []string{w.at.Account}, []string{tokyo}
	return w
}

func (w *limitWorld) target() *distribution.Target { return &w.req.Targets[0] }

// role sets and returns the target's role, which is given by an ARN.
func (w *limitWorld) role() *distribution.Role {
	w.target().Roles = []distribution.Role{{RoleARN: "arn:aws:iam::999999999999:role/golden-image-target"}}
	return &w.target().Roles[0]
}

func (w *limitWorld) parameter(p distribution.Parameter) {
	if p.Name == "" {
		p.Name = "/golden/ami"
	}
	p.Type, p.DataType = "String", "aws:ec2:image"
	w.target().Parameters = []distribution.Parameter{p}
}

// withRendered puts a text that the build gives, or that the source image carries, into a world.
var withRendered = map[awslimits.Subject]func(w *limitWorld, value string){
	awslimits.ImageName: func(w *limitWorld, v string) {
		w.facts.Images[tokyo].Image.Name = &v
		w.target().AMIName = "{{ .AMIName }}"
	},
	awslimits.Description: func(w *limitWorld, v string) { w.facts.Images[tokyo].Image.Description = &v },
	awslimits.UEFIData: func(w *limitWorld, v string) {
		image := w.facts.Images[tokyo]
		image.UEFIData = v
		w.facts.Images[tokyo] = image
	},
	awslimits.SnapshotText: func(w *limitWorld, v string) {
		const name = " of golden 1"
		w.facts.Images[tokyo].Image.BlockDeviceMappings[1].DeviceName = aws.String(strings.Repeat("x", len(v)-len(name)))
	},
	awslimits.TagKey: func(w *limitWorld, v string) {
		w.target().Tags = map[string]distribution.Text{v: renderedText}
	},
	awslimits.TagValue: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.target().SnapshotTags = map[string]distribution.Text{"team": renderedText}
	},
	awslimits.RoleName: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.target().Roles = []distribution.Role{{RoleName: renderedText}}
	},
	awslimits.RolePath: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.role().RoleARN = "arn:aws:iam::999999999999:role{{ build_name }}golden"
	},
	awslimits.RoleARN:         func(w *limitWorld, v string) { w.role().RoleARN = distribution.Text(v) },
	awslimits.RoleSessionName: func(w *limitWorld, v string) { w.role().SessionName = distribution.Text(v) },
	awslimits.ExternalID:      func(w *limitWorld, v string) { w.role().ExternalID = distribution.Secret(v) },
	awslimits.SourceIdentity:  func(w *limitWorld, v string) { w.role().SourceIdentity = distribution.Text(v) },
	awslimits.GrantName: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.target().Grants = []distribution.Grant{{Name: renderedText}}
	},
	awslimits.Grantee: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.target().Grants = []distribution.Grant{{Name: "app", Grantee: renderedText}}
	},
	awslimits.InstanceType: func(w *limitWorld, v string) {
		w.target().LaunchCheck = &distribution.LaunchCheck{InstanceType: v}
	},
	awslimits.SubnetID: func(w *limitWorld, v string) {
		w.target().LaunchCheck = &distribution.LaunchCheck{InstanceType: "t4g.micro", SubnetID: v}
	},
	awslimits.TemplateName: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.target().Templates = []distribution.LaunchTemplate{{Template: renderedText, Source: "$Default"}}
	},
	awslimits.VersionDescription: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.target().Templates = []distribution.LaunchTemplate{{
			Template: "web", Source: "$Default", Description: renderedText,
		}}
	},
	awslimits.LicenseARN: func(w *limitWorld, v string) {
		w.target().Licenses = []distribution.Text{distribution.Text(strings.ReplaceAll(v, "eu-west-1", tokyo))}
	},
	awslimits.ParameterName: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.parameter(distribution.Parameter{Name: renderedText})
	},
	awslimits.ParameterDescription: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.parameter(distribution.Parameter{Description: renderedText})
	},
	awslimits.ParameterKeyID: func(w *limitWorld, v string) {
		w.parameter(distribution.Parameter{KeyID: distribution.Text(v)})
		w.facts.Keys[w.at][v] = key(w.at.Account, tokyo, "parameters")
	},
	awslimits.ParameterTagKey: func(w *limitWorld, v string) {
		w.parameter(distribution.Parameter{Tags: map[string]distribution.Text{v: "os"}})
	},
	awslimits.ParameterTagValue: func(w *limitWorld, v string) {
		w.req.Build.Name = v
		w.parameter(distribution.Parameter{Tags: map[string]distribution.Text{"team": renderedText}})
	},
}

// withLength puts a list of a length into a world.
var withLength = map[awslimits.Subject]func(w *limitWorld, n int){
	awslimits.Tags: func(w *limitWorld, n int) {
		given := map[string]distribution.Text{}
		for i := range n - provenance.OwnTags {
			given[fmt.Sprintf("key%d", i)] = "x"
		}
		w.target().Tags = given
	},
	awslimits.ParameterTags: func(w *limitWorld, n int) {
		tags := map[string]distribution.Text{}
		for i := range n {
			tags[fmt.Sprintf("key%d", i)] = "x"
		}
		w.parameter(distribution.Parameter{Tags: tags})
	},
	awslimits.ImageShares: func(w *limitWorld, n int) {
		for i := range n {
			users := &w.target().Lifecycle.Users
			users.Accounts = append(users.Accounts, fmt.Sprintf("%012d", i))
		}
	},
	awslimits.ParameterLevels: func(w *limitWorld, n int) {
		w.req.Build.Name = strings.Repeat("/a", n)
		w.parameter(distribution.Parameter{Name: renderedText})
	},
}

// Each limit that a rendered or carried value can exceed refuses the plan.
func TestDecide_atAndBeyondEachLimit(t *testing.T) {
	tested := 0
	for _, limit := range awslimits.Table {
		within, beyond := limitWorlds(limit)
		if within == nil {
			continue
		}
		tested++
		name := fmt.Sprintf("%s: %s", limit.Subject, limit.Kind)
		t.Run(name, func(t *testing.T) {
			if p := plan.Assess(within.req, within.facts).Decide(); p.Refused() {
				t.Errorf("at the limit: got %v", refusals(p))
			}
			if beyond == nil {
				return
			}
			p := plan.Assess(beyond.req, beyond.facts).Decide()
			if !p.Refused() || len(p.Steps) > 0 {
				t.Errorf("beyond the limit: got %d steps, want a refusal", len(p.Steps))
			}
			for _, f := range refusals(p) {
				if f.Field == "" || f.Detail == "" || f.Remediation == "" {
					t.Errorf("got %+v, want an option, a reason and what to do", f)
				}
			}
		})
	}
	if tested < 40 {
		t.Errorf("got %d limits, want 40 or more", tested)
	}
}

// limitWorlds returns a world at a limit, and one beyond it. Both are nil if no rendered or carried value has the
// limit; the second one is nil if the value beyond is no value at all.
func limitWorlds(limit awslimits.Limit) (within, beyond *limitWorld) {
	with := func(change func(*limitWorld)) *limitWorld {
		w := newLimitWorld()
		change(w)
		return w
	}
	switch limit.Subject {
	case awslimits.DeprecationTime:
		until := func(after time.Duration) *limitWorld {
			w := newLimitWorld()
			end := w.facts.At
			if limit.Kind == awslimits.MaxYears {
				end = end.AddDate(limit.Number, 0, 0).Add(-time.Minute)
			}
			w.target().Lifecycle.DeprecateAt = end.Add(after)
			return w
		}
		if limit.Kind == awslimits.MaxYears {
			return until(time.Minute), until(2 * time.Minute)
		}
		return until(time.Minute), until(-time.Minute)
	case awslimits.ParameterNameAndARN:
		name := func(n int) *limitWorld {
			return with(func(w *limitWorld) {
				w.req.Build.Name = "/" + strings.Repeat("a", n-len(w.at.ParameterARN("")))
				w.parameter(distribution.Parameter{Name: renderedText})
			})
		}
		return name(limit.Number), name(limit.Number + 1)
	}
	if change := withLength[limit.Subject]; change != nil {
		return with(func(w *limitWorld) { change(w, limit.Number) }), with(func(w *limitWorld) { change(w, limit.Number+1) })
	}
	change := withRendered[limit.Subject]
	if change == nil {
		return nil, nil
	}
	in, out, ok := limitsamples.Texts(limit)
	if !ok {
		return nil, nil
	}
	within = with(func(w *limitWorld) { change(w, in) })
	if out == "" && limit.Subject != awslimits.TagKey && limit.Subject != awslimits.ParameterTagKey {
		return within, nil
	}
	return within, with(func(w *limitWorld) { change(w, out) })
}

func refusals(p plan.Plan) []distribution.Finding {
	var refused []distribution.Finding
	for _, f := range p.Findings {
		if f.Level == distribution.Refused {
			refused = append(refused, f)
		}
	}
	return refused
}

// The message about an invalid secret does not contain the secret.
func TestDecide_externalIDBeyondLimit(t *testing.T) {
	w := newLimitWorld()
	w.role().ExternalID = "two hush words"
	refused := refusals(plan.Assess(w.req, w.facts).Decide())
	if len(refused) != 1 || strings.Contains(fmt.Sprint(refused), "hush") {
		t.Errorf("got %v", refused)
	}
}

// The default name of a copy in the source account has a suffix, so it can exceed the limit.
func TestDecide_defaultNameTooLong(t *testing.T) {
	w := newLimitWorld()
	w.target().AccountIDs, w.target().Roles = []string{source}, nil
	w.facts.Images[tokyo].Image.Name = aws.String(strings.Repeat("g", 128))
	w.facts.Keys[distribution.Location{Account: source, Region: tokyo}]["alias/golden-"+tokyo] = key(source, tokyo, "own")
	refused := refusals(plan.Assess(w.req, w.facts).Decide())
	if len(refused) != 1 || !strings.Contains(refused[0].Field, "ami_name") {
		t.Errorf("got %v", refused)
	}
}

// Values that the plan itself creates keep the limits: client tokens, and the number of accounts in a sharing call.
func TestDecide_ownValuesKeepLimits(t *testing.T) {
	w := newLimitWorld()
	w.target().Method = distribution.ByImage
	w.target().AccountIDs = nil
	for i := range 2*awslimits.Number(awslimits.ShareBatch, awslimits.MaxCount) - 100 {
		account := fmt.Sprintf("2%011d", i)
		at := distribution.Location{Account: account, Region: tokyo}
		w.target().AccountIDs = append(w.target().AccountIDs, account)
		w.facts.Keys[at] = map[string]distribution.Key{"alias/golden-" + tokyo: key(account, tokyo, "own")}
		w.facts.Sites[at] = w.facts.Sites[w.at]
	}
	p := plan.Assess(w.req, w.facts).Decide()
	if p.Refused() {
		t.Fatalf("got %v", refusals(p))
	}
	shares, copies := 0, 0
	for _, s := range p.Steps {
		switch s := s.(type) {
		case *step.ShareSnapshot:
			shares++
			if err := awslimits.CheckCount(awslimits.ShareBatch, len(s.Accounts)); err != nil {
				t.Errorf("%s: %v", s.ID, err)
			}
		case *step.CopyImage:
			copies++
			if err := awslimits.Check(awslimits.CopyToken, string(s.Signing.Token("copy"))); err != nil {
				t.Errorf("%s: %v", s.ID, err)
			}
			if err := awslimits.Check(awslimits.ImageName, s.Name); err != nil {
				t.Errorf("%s: %v", s.ID, err)
			}
		}
	}
	if shares < 2 || copies < 2 {
		t.Errorf("got %d shares and %d copies, want several of each", shares, copies)
	}
}
