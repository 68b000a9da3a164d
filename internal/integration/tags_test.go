// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// The copies' snapshots have the tags of the source snapshots, as far as the method and AWS allow. The run reports the
// tags that are lost.
func TestSnapshotTags_carriedOver(t *testing.T) {
	for _, method := range []string{"snapshot", "image"} {
		t.Run(method, func(t *testing.T) {
			test(t, fixture.Setup{Volumes: mixedKeys}, func(w *fixture.World) {
				for i, m := range w.SourceImage().BlockDeviceMappings {
					w.Tag(w.EC2(fixture.Source, fixture.Home), *m.Ebs.SnapshotId, map[string]string{
						"team": "web", "volume": fmt.Sprint(i),
					})
				}
				run := w.Run(w.Template(fixture.WithMethod(method), fixture.WithTags(map[string]any{"stage": "prod"})))
				w.RequireSuccess(run)

				volumes := map[string]bool{}
				for _, s := range w.Snapshots(fixture.Prod, fixture.Home) {
					tags := fixture.Tags(s.Tags)
					volumes[tags["volume"]] = true
					if tags["team"] != "web" || tags["stage"] != "prod" {
						w.Errorf("%s has the tags %v", *s.SnapshotId, tags)
					}
				}
				isLost := strings.Contains(run.Text(), "without these: volume")
				if isLost != volumes[""] || isLost != (method == "image") {
					w.Errorf("got the values %v, listed as lost %v", volumes, isLost)
				}
			})
		})
	}
}

// With the tags of the run, the copy would have more tags than AWS allows. The run leaves some out, and says which.
func TestTags_beyondLimit(t *testing.T) {
	test(t, fixture.Setup{}, func(w *fixture.World) {
		tags := map[string]string{}
		for i := range 46 { // a run adds up to four of its own
			tags[fmt.Sprintf("key%02d", i)] = "x"
		}
		w.Tag(w.EC2(fixture.Source, fixture.Home), w.ImageID, tags)
		run := w.Run(w.Template(fixture.WithTags(map[string]any{"stage": "prod", "zone": "a"})))
		w.RequireSuccess(run)
		image := w.RequireImage(fixture.Prod, fixture.Home)
		if got := len(image.Tags); got > 50 || fixture.Tags(image.Tags)["stage"] != "prod" {
			w.Errorf("got %d tags: %v", got, fixture.Tags(image.Tags))
		}
		if !strings.Contains(run.Text(), "these exceed the limit: key45") {
			w.Errorf("got no warning of the lost tag:\n%s", run.Text())
		}
	})
}
