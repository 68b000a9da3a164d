// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// imageStates returns the states of an account's images, with the disabled ones, by the source image.
func imageStates(w *fixture.World, account string) map[string]ec2types.ImageState {
	w.Helper()
	out, err := w.EC2(account, fixture.Home).DescribeImages(w.Context(), &ec2.DescribeImagesInput{
		Owners:          []string{"self"},
		IncludeDisabled: aws.Bool(true),
	})
	if err != nil {
		w.Fatal(err)
	}
	states := map[string]ec2types.ImageState{}
	for _, image := range out.Images {
		source := *image.ImageId
		if tag := fixture.Tags(image.Tags)["encrypted-ami:source"]; account != fixture.Source {
			source = tag[strings.LastIndex(tag, "/")+1:]
		}
		states[source] = image.State
	}
	return states
}

// Of four releases, the newest stays, the one before it is disabled, and the others are deregistered. A repeated run
// changes nothing.
func TestDisableReleases_beforeDeregistration(t *testing.T) {
	for name, option := range map[string]fixture.Change{
		fixture.Prod:   fixture.WithDisabledReleases(1, 1),
		fixture.Source: fixture.WithDisabledSources(1, 1),
	} {
		t.Run(name, func(t *testing.T) {
			test(t, fixture.Setup{}, func(w *fixture.World) {
				template := w.Template(fixture.WithFamily("web"), fixture.WithParameter("/golden"), option)
				images := []string{w.ImageID}
				w.RequireSuccess(w.Run(template))
				for len(images) < 4 {
					time.Sleep(24 * time.Hour)
					images = append(images, w.Build())
					w.RequireSuccess(w.Run(template))
				}

				want := map[string]ec2types.ImageState{
					images[3]: ec2types.ImageStateAvailable,
					images[2]: ec2types.ImageStateDisabled,
				}
				if got := imageStates(w, name); !maps.Equal(got, want) {
					w.Fatalf("%s has %v, want %v", name, got, want)
				}

				repeated := w.Resume(template)
				w.RequireSuccess(repeated)
				for _, call := range repeated.Calls() {
					if call.Mutating() {
						w.Errorf("the repeated run called %s", call.Action)
					}
				}
			})
		})
	}
}
