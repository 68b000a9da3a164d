// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// sourceParameter returns the value of a parameter in the source account, and its version.
func sourceParameter(w *fixture.World, name string) (value string, version int64) {
	w.Helper()
	out, err := w.SSM(fixture.Source, fixture.Home).GetParameter(w.Context(), &ssm.GetParameterInput{Name: &name})
	if err != nil {
		w.Fatal(err)
	}
	return aws.ToString(out.Parameter.Value), out.Parameter.Version
}

// The parameter of a share block names the image that accounts may launch. If the source image itself cannot be shared,
// that is a staged copy. A repeated run does not write the parameter again.
func TestShareParameter_namesSharedImage(t *testing.T) {
	for name, key := range map[string]string{"staged copy": fixture.AWSManaged, "source image": fixture.SourceKey} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{Volumes: []fixture.Volume{{GiB: 8, Key: key}}}, func(w *fixture.World) {
				template := w.Template(fixture.WithShare(fixture.Friend), fixture.WithShareParameter("/golden/ami"))
				w.RequireSuccess(w.Run(template))

				named, version := sourceParameter(w, "/golden/ami")
				visible, err := w.EC2(fixture.Friend, fixture.Home).DescribeImages(w.Context(), &ec2.DescribeImagesInput{
					ImageIds: []string{named},
				})
				if err != nil || len(visible.Images) != 1 {
					w.Fatalf("the account of the share block cannot see %s: %v", named, err)
				}
				if isSource := named == w.ImageID; isSource != (key == fixture.SourceKey) {
					w.Errorf("the parameter names %s, the source image is %s", named, w.ImageID)
				}

				w.RequireSuccess(w.Resume(template))
				if again, now := sourceParameter(w, "/golden/ami"); again != named || now != version {
					w.Errorf("after a repeated run it names %s in version %d, want %s in %d", again, now, named, version)
				}
			})
		})
	}
}

// A run of an older release does not replace the image of a newer one.
func TestShareParameter_keepsNewerRelease(t *testing.T) {
	setup := fixture.Setup{Volumes: []fixture.Volume{{GiB: 8, Key: fixture.SourceKey}}}
	test(t, setup, func(w *fixture.World) {
		template := w.Template(fixture.WithShare(fixture.Friend), fixture.WithShareParameter("/golden/ami"))
		w.RequireSuccess(w.Run(template))
		older := w.ImageID
		newer := w.Build()
		w.RequireSuccess(w.Run(template))
		w.ImageID = older
		w.RequireSuccess(w.Resume(template))
		if named, _ := sourceParameter(w, "/golden/ami"); named != newer {
			w.Errorf("the parameter names %s, want the newer %s", named, newer)
		}
	})
}

// A run whose parameter cannot be written fails, and a resumed run writes it.
func TestShareParameter_deniedAndResumed(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		template := w.Template(fixture.WithShare(fixture.Friend), fixture.WithShareParameter("/golden/ami"))
		w.DenySource("ssm:PutParameter")
		w.RequireFailure(w.Run(template))
		w.DenySource("ssm:DeleteParameter")
		w.RequireSuccess(w.Resume(template))
		if named, _ := sourceParameter(w, "/golden/ami"); named == "" {
			w.Error("the parameter names no image")
		}
	})
}
