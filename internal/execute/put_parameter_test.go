// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

const target = "222222222222"

// published returns a small world, and a request that publishes the image in parameters.
func published(t *testing.T, parameters ...distribution.Parameter) (*testWorld, distribution.Request) {
	h := build(t, mixed[1:2], []string{target}, []string{home})
	req := h.request()
	req.Targets[0].Parameters = parameters
	return h, req
}

var (
	named = distribution.Parameter{
		Name:      "/golden/{{ .Region }}",
		Type:      "String",
		DataType:  distribution.ImageParameter,
		Tags:      map[string]distribution.Text{"from": "{{ .AMIName }}"},
		Overwrite: true,
	}
	hidden = distribution.Parameter{
		Name:      "golden",
		Type:      distribution.SecureString,
		DataType:  "text",
		KeyID:     targetAlias,
		Overwrite: true,
	}
)

func (h *testWorld) ssm() *ssm.Client { return ssm.NewFromConfig(h.Config(target, home)) }

func (h *testWorld) put(name, value, dataType string) {
	h.t.Helper()
	_, err := h.ssm().PutParameter(h.t.Context(), &ssm.PutParameterInput{
		Name:     &name,
		Value:    &value,
		DataType: &dataType,
		Type:     ssmtypes.ParameterTypeString,
	})
	h.must(err)
}

// parameter returns a parameter with its decrypted value, and its tags.
func (h *testWorld) parameter(name string) (*ssmtypes.Parameter, map[string]string) {
	h.t.Helper()
	out, err := h.ssm().GetParameter(h.t.Context(), &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	h.must(err)
	list, err := h.ssm().ListTagsForResource(h.t.Context(), &ssm.ListTagsForResourceInput{
		ResourceType: ssmtypes.ResourceTypeForTaggingParameter,
		ResourceId:   &name,
	})
	h.must(err)
	tags := map[string]string{}
	for _, tag := range list.TagList {
		tags[*tag.Key] = *tag.Value
	}
	return out.Parameter, tags
}

// names checks that a parameter names the target's image, and that the result says so.
func (h *testWorld) names(name string, version int64, result distribution.Result) map[string]string {
	h.t.Helper()
	images := h.ownImages(target, home)
	seen, tags := h.parameter(name)
	if len(images) != 1 || aws.ToString(seen.Value) != aws.ToString(images[0].ImageId) || seen.Version != version {
		h.t.Errorf("%s says %s in version %d, the target has %d "+
			"images", name, aws.ToString(seen.Value), seen.Version, len(images))
	}
	if len(result.Images) != 1 ||
		!slices.Contains(result.Images[0].Pointers, distribution.Pointer{Kind: "SSM parameter", Name: name, Set: true}) ||
		!result.Images[0].Published() {
		h.t.Errorf("the result says %+v", result.Images)
	}
	return tags
}

// The run creates a parameter with its tags once the image is verified. The next run changes nothing.
func TestPutParameter_twice(t *testing.T) {
	for _, parameter := range []distribution.Parameter{named, hidden} {
		synctest.Test(t, func(t *testing.T) {
			h, req := published(t, parameter)
			name := strings.ReplaceAll(string(parameter.Name), "{{ .Region }}", home)
			_, result := h.run(t.Context(), req)
			h.complete(result)
			tags := h.names(name, 1, result)
			if parameter.Tags != nil && tags["from"] != "golden 1" {
				t.Errorf("its tags are %v", tags)
			}
			before := len(h.Records())
			_, result = h.run(t.Context(), req)
			h.complete(result)
			h.names(name, 1, result)
			if changed := h.Records()[before:].Mutating(); len(changed) > 0 {
				t.Errorf("the second run changed something: %+v", changed)
			}
		})
	}
}

// A parameter that names the previous release gets the new image and keeps its tags.
func TestPutParameter_earlierRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, req := published(t, named)
		h.put("/golden/"+home, "ami-0123456789abcdef0", "text")
		req.Targets[0].Parameters[0].DataType = "text"
		_, result := h.run(t.Context(), req)
		h.complete(result)
		if tags := h.names("/golden/"+home, 2, result); tags["from"] != "golden 1" {
			t.Errorf("its tags are %v", tags)
		}
	})
}

// After a lost response, the run recognizes its own parameter, even if it may not overwrite any.
func TestPutParameter_lostResponseOfText(t *testing.T) {
	for _, parameter := range []distribution.Parameter{named, hidden} {
		synctest.Test(t, func(t *testing.T) {
			parameter.DataType, parameter.Overwrite = "text", false
			h, req := published(t, parameter)
			h.Inject(awssim.FaultRule{Fault: awssim.LostResponse, Action: "ssm:PutParameter", Times: 1})
			_, result := h.run(t.Context(), req)
			h.complete(result)
			h.names(strings.ReplaceAll(string(parameter.Name), "{{ .Region }}", home), 1, result)
		})
	}
}

// AWS accepts the call but writes nothing if it does not see the image (rule 7.2). The run notices that and reports
// what is missing. The image stays.
func TestPutParameter_notWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, req := published(t, named)
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, req)
		result := runPlan(t.Context(), pool, p, options(req), func(e distribution.Event) {
			if strings.HasPrefix(string(e.Step), "verify/") && e.Kind == distribution.Finished {
				h.forbid(target, "ec2:DescribeImages")
			}
		})
		if len(result.Images) != 1 || result.Images[0].Published() {
			t.Errorf("the images are %+v", result.Images)
		}
		if len(result.Findings) != 1 || result.Findings[0].Reference != "7.2" ||
			!adds(result.Findings[0], "ec2:DescribeImages") {
			t.Errorf("found %+v", result.Findings)
		}
	})
}

// If the key does not permit the target to encrypt, the report has the statement to add.
func TestPutParameter_keyDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, req := published(t, hidden)
		h.forbid(target, "kms:Encrypt")
		_, result := h.run(t.Context(), req)
		if len(result.Images) != 1 || result.Images[0].Published() || len(result.Findings) != 1 ||
			result.Findings[0].Operation != "ssm:PutParameter" {
			t.Errorf("images %+v, found %+v", result.Images, result.Findings)
		}
	})
}

// The parameter names the image after every other step that verifies or completes it.
func TestPutParameter_withGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, req := published(t, named)
		req.Targets[0].Grants = []distribution.Grant{
			{Name: "web", Grantee: distribution.Text("arn:aws:iam::" + target + ":role/" + roleName)},
		}
		_, result := h.run(t.Context(), req)
		h.complete(result)
		h.names("/golden/"+home, 1, result)
		if n := h.calls("kms:CreateGrant"); n != 1 {
			t.Errorf("%d grants", n)
		}
	})
}

// No parameter names an image that could not be signed, because its tags may be copied from another image.
func TestPublish_unsignedImage(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		unsealedStaysUnpublished(t, method)
	}
}

func unsealedStaysUnpublished(t *testing.T, method distribution.Method) {
	synctest.Test(t, func(t *testing.T) {
		h, req := published(t, named)
		req.Targets[0].Method = method
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, req)
		result := runPlan(t.Context(), pool, p, options(req), func(e distribution.Event) {
			if (strings.HasPrefix(string(e.Step), "register/") || strings.HasPrefix(string(e.Step), "copy/")) &&
				e.Kind == distribution.Begun {
				h.forbidSigning(target)
			}
		})
		if len(result.Images) != 1 || result.Images[0].Published() || h.calls("ssm:PutParameter") > 0 {
			t.Errorf("images %+v, %d parameters put", result.Images, h.calls("ssm:PutParameter"))
		}
		if n := len(result.Findings); n < 2 || !strings.Contains(result.Findings[n-2].Summary, "signature could not be "+
			"written to ami-") || !strings.Contains(result.Findings[n-1].Detail, "signature") {
			t.Errorf("found %+v", result.Findings)
		}
	})
}

// The run does not overwrite a parameter of another type, even if it was created after the plan. AWS would convert it
// (rule B.6.1), or refuse the call, as its API reference says.
func TestPutParameter_anotherType(t *testing.T) {
	for name, option := range map[string]awssim.Option{
		"converted by AWS": func(*awssim.World) {}, "refused by AWS": awssim.WithAlternatives(awssim.ParameterTypeRefused),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, req := published(t, hidden)
				option(h.World)
				pool := h.pool(t.Context(), h.World)
				p := h.decide(t.Context(), pool, req)
				result := runPlan(t.Context(), pool, p, options(req), func(e distribution.Event) {
					if strings.HasPrefix(string(e.Step), "verify/") && e.Kind == distribution.Finished {
						h.put("golden", "plain", "text")
					}
				})

				if len(result.Images) != 1 || result.Images[0].Published() || len(result.Findings) != 1 {
					t.Errorf("the images are %+v, the findings %+v", result.Images, result.Findings)
				}
				if seen, _ := h.parameter("golden"); seen.Type != ssmtypes.ParameterTypeString || *seen.Value != "plain" {
					t.Errorf("the parameter is a %s and says %q, want the String %q", seen.Type, *seen.Value, "plain")
				}
			})
		})
	}
}
