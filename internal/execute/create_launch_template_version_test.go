// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// template creates a launch template with one version.
func (h *testWorld) template(account, region, name string) {
	h.t.Helper()
	_, err := h.ec2(account, region).CreateLaunchTemplate(h.t.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String(name),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{
			InstanceType: ec2types.InstanceTypeM7gLarge,
			ImageId:      aws.String("ami-0123456789abcdef0"),
		},
	})
	h.must(err)
}

// templated returns a small world with a launch template, and a request that publishes the image in it.
func templated(t *testing.T, asked distribution.LaunchTemplate) (*testWorld, distribution.Request) {
	h, req := published(t)
	h.template(target, home, "web")
	req.Targets[0].Templates = []distribution.LaunchTemplate{asked}
	return h, req
}

// versions returns the versions of the launch template, newest first.
func (h *testWorld) versions() []ec2types.LaunchTemplateVersion {
	h.t.Helper()
	out, err := h.ec2(target, home).DescribeLaunchTemplateVersions(h.t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{
		LaunchTemplateName: aws.String("web"),
	})
	h.must(err)
	return out.LaunchTemplateVersions
}

// hasOneVersion checks that the launch template has one version with the image, with otherwise unchanged settings, and
// whether it is the default.
func (h *testWorld) hasOneVersion(byDefault bool) {
	h.t.Helper()
	images, versions := h.ownImages(target, home), h.versions()
	if len(images) != 1 || len(versions) != 2 {
		h.t.Fatalf("%d images, %d versions", len(images), len(versions))
	}
	made := versions[0]
	if aws.ToString(made.LaunchTemplateData.ImageId) != aws.ToString(images[0].ImageId) ||
		made.LaunchTemplateData.InstanceType != ec2types.InstanceTypeM7gLarge ||
		aws.ToBool(made.DefaultVersion) != byDefault || aws.ToString(made.VersionDescription) != "golden 1" {
		h.t.Errorf("the version is %+v of %+v", made, made.LaunchTemplateData)
	}
}

var (
	web        = distribution.LaunchTemplate{Template: "web", Source: "$Default", Description: "{{ .AMIName }}"}
	webDefault = distribution.LaunchTemplate{Template: "web", Source: "1", Description: "{{ .AMIName }}", SetDefault: true}
)

// The next run finds the version and changes nothing.
func TestCreateLaunchTemplateVersion_twice(t *testing.T) {
	for _, asked := range []distribution.LaunchTemplate{web, webDefault} {
		synctest.Test(t, func(t *testing.T) {
			h, req := templated(t, asked)
			for i := range 2 {
				before := len(h.Records())
				_, result := h.run(t.Context(), req)
				h.complete(result)
				h.hasOneVersion(asked.SetDefault)
				if changed := h.Records()[before:].Mutating(); i == 1 && len(changed) > 0 {
					t.Errorf("the second run changed something: %+v", changed)
				}
				if !result.Images[0].Published() || len(result.Images[0].Pointers) != 1 {
					t.Errorf("the result says %+v", result.Images)
				}
			}
		})
	}
}

// A run that crashed after it created its version leaves that version to the next run, which makes it the default.
func TestCreateLaunchTemplateVersion_afterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, req := templated(t, webDefault)
		h.forbid(target, "ec2:ModifyLaunchTemplate")
		_, result := h.run(t.Context(), req)
		if len(result.Findings) != 1 ||
			!adds(result.Findings[0], "ec2:ModifyLaunchTemplate") && !strings.Contains(result.Findings[0].Detail, "explicit") {
			t.Errorf("found %+v", result.Findings)
		}
		h.hasOneVersion(false)
		h.forgive(target)
		req.RunID = "run-2"
		_, result = h.run(t.Context(), req)
		h.complete(result)
		h.hasOneVersion(true)
	})
}

// Hours may pass between the plan and the new version, and the default version may change. The new version is based on
// the default version of the moment when it is created.
func TestCreateLaunchTemplateVersion_newDefault(t *testing.T) {
	for _, made := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			asked := web
			asked.SetDefault = true
			h, req := templated(t, asked)
			if made {
				h.forbid(target, "ec2:ModifyLaunchTemplate")
				h.run(t.Context(), req)
				h.forgive(target)
				time.Sleep(time.Minute)
			}
			pool := h.pool(t.Context(), h.World)
			p := h.decide(t.Context(), pool, req)
			h.version(ec2types.InstanceTypeM7gXlarge, "", true)
			result := runPlan(t.Context(), pool, p, options(req), func(distribution.Event) {})
			h.complete(result)
			version := h.versions()[0]
			if version.LaunchTemplateData.InstanceType != ec2types.InstanceTypeM7gXlarge || !aws.ToBool(version.DefaultVersion) {
				t.Errorf("made before %v: the version is %+v of %+v", made, version, version.LaunchTemplateData)
			}
		})
	}
}

// A version with the image is not used if another user created it, or if its other settings differ.
func TestCreateLaunchTemplateVersion_otherSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := web
		asked.SetDefault = true
		h, req := templated(t, asked)
		req.Targets[0].Templates = nil
		_, result := h.run(t.Context(), req)
		h.complete(result)
		h.version(ec2types.InstanceTypeM7gXlarge, result.Images[0].ImageID, false)
		req.Targets[0].Templates = []distribution.LaunchTemplate{asked}
		_, result = h.run(t.Context(), req)
		h.complete(result)
		if made := h.versions()[0]; len(h.versions()) != 3 ||
			made.LaunchTemplateData.InstanceType != ec2types.InstanceTypeM7gLarge || !aws.ToBool(made.DefaultVersion) {
			t.Errorf("the version is %+v of %+v", made, made.LaunchTemplateData)
		}
	})
}

// No launch template names an image that another run deregistered after this run verified it.
func TestCreateLaunchTemplateVersion_imageMissing(t *testing.T) {
	text := distribution.Parameter{Name: "golden", Type: "String", DataType: "text", Overwrite: true}
	synctest.Test(t, func(t *testing.T) {
		h, req := templated(t, web)
		req.Targets[0].Parameters = []distribution.Parameter{text}
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, req)
		result := runPlan(t.Context(), pool, p, options(req), func(e distribution.Event) {
			if strings.HasPrefix(string(e.Step), "verify/") && e.Kind == distribution.Finished {
				_, err := h.ec2(target, home).
					DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: h.ownImages(target, home)[0].ImageId})
				h.must(err)
			}
		})
		if len(result.Findings) == 0 || len(h.versions()) != 1 || h.calls("ssm:PutParameter") > 0 {
			t.Errorf("findings %+v, %d versions", result.Findings, len(h.versions()))
		}
	})
}

// version creates a version of the launch template as a user would. It has an image if one is given.
func (h *testWorld) version(of ec2types.InstanceType, image string, byDefault bool) {
	h.t.Helper()
	client := h.ec2(target, home)
	data := &ec2types.RequestLaunchTemplateData{InstanceType: of}
	if image != "" {
		data.ImageId = &image
	}
	made, err := client.CreateLaunchTemplateVersion(
		h.t.Context(),
		&ec2.CreateLaunchTemplateVersionInput{
			LaunchTemplateName: aws.String("web"),
			SourceVersion:      aws.String("1"),
			LaunchTemplateData: data,
		},
	)
	h.must(err)
	if byDefault {
		_, err = client.ModifyLaunchTemplate(
			h.t.Context(),
			&ec2.ModifyLaunchTemplateInput{
				LaunchTemplateName: aws.String("web"),
				DefaultVersion:     aws.String(fmt.Sprint(*made.LaunchTemplateVersion.VersionNumber)),
			},
		)
		h.must(err)
	}
}

// A transient error creates no second version: the client token identifies the repeated call, even while AWS does not
// show the version yet.
func TestCreateLaunchTemplateVersion_lostResponse(t *testing.T) {
	for _, fault := range []awssim.Fault{awssim.LostResponse, awssim.LateError} {
		synctest.Test(t, func(t *testing.T) {
			h, req := templated(t, web)
			h.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:CreateLaunchTemplateVersion", Times: 2})
			_, result := h.run(t.Context(), req)
			h.complete(result)
			h.hasOneVersion(false)
		})
	}
}

func TestCreateLaunchTemplateVersion_unsignedImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, req := templated(t, web)
		pool := h.pool(t.Context(), h.World)
		p := h.decide(t.Context(), pool, req)
		result := runPlan(t.Context(), pool, p, options(req), func(e distribution.Event) {
			if strings.HasPrefix(string(e.Step), "register/") && e.Kind == distribution.Begun {
				h.forbidSigning(target)
			}
		})
		if len(result.Images) != 1 || result.Images[0].Published() || len(h.versions()) != 1 {
			t.Errorf("images %+v, %d versions", result.Images, len(h.versions()))
		}
	})
}
