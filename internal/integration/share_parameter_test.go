// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"encoding/json"
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
				run := w.Run(template)
				w.RequireSuccess(run)

				named, version := sourceParameter(w, "/golden/ami")
				requireSharePublished(w, run, "/golden/ami", version)
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

// requireSharePublished ends the test unless the manifest names the parameter of the share block, and the version that
// the run wrote.
func requireSharePublished(w *fixture.World, run *fixture.Run, name string, version int64) {
	w.Helper()
	var manifest struct {
		Shares []struct {
			Published []struct {
				Name, Status string
				Version      int64
			}
		}
	}
	if err := json.Unmarshal([]byte(run.File("manifest.json")), &manifest); err != nil {
		w.Fatal(err)
	}
	if len(manifest.Shares) != 1 || len(manifest.Shares[0].Published) != 1 {
		w.Fatalf("the manifest has the shares %+v", manifest.Shares)
	}
	if p := manifest.Shares[0].Published[0]; p.Name != name || p.Status != "succeeded" || p.Version != version {
		w.Fatalf("the manifest has %+v, want version %d of %s", p, version, name)
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
