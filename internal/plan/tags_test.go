// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package plan_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

func ec2Tags(tags map[string]string) (list []ec2types.Tag) {
	for key, value := range tags {
		list = append(list, ec2types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return list
}

// tagSnapshots adds tags to the snapshots of the source image: individual ones, and one that all have.
func tagSnapshots(w *limitWorld, own map[string]string) {
	n := 0
	for _, m := range w.facts.Images[tokyo].Image.BlockDeviceMappings {
		if m.Ebs == nil || m.Ebs.SnapshotId == nil {
			continue
		}
		n++
		snapshot := w.facts.Images[tokyo].Snapshots[*m.Ebs.SnapshotId]
		tags := map[string]string{"team": "web", "volume": fmt.Sprint(n), "aws:x": "reserved"}
		maps.Copy(tags, own)
		snapshot.Tags = ec2Tags(tags)
		w.facts.Images[tokyo].Snapshots[*m.Ebs.SnapshotId] = snapshot
	}
}

// snapshotTagsOf returns the tags that a step gives to copies of source snapshots. Nil for other steps.
func snapshotTagsOf(s step.Step) map[string]string {
	switch s := s.(type) {
	case *step.CopySnapshot:
		if !s.Trial {
			return s.Tags
		}
	case *step.CopyImage:
		return s.SnapshotTags
	}
	return nil
}

// The copies get the tags of the source snapshots as far as AWS allows. The plan lists the other tags.
func TestDecide_snapshotTagsCarriedOver(t *testing.T) {
	for _, method := range []distribution.Method{distribution.BySnapshot, distribution.ByImage} {
		w := newLimitWorld()
		w.target().Method = method
		w.target().SnapshotTags = map[string]distribution.Text{"stage": "prod"}
		tagSnapshots(w, nil)
		p := plan.Assess(w.req, w.facts).Decide()
		if p.Refused() {
			t.Fatalf("%s: got %v", method, refusals(p))
		}

		volumes, copies := map[string]bool{}, 0
		for _, s := range p.Steps {
			tags := snapshotTagsOf(s)
			if tags == nil || s.Meta().Location.Account == source || s.Meta().Destination.Account == "" {
				continue
			}
			copies++
			volumes[tags["volume"]] = true
			if tags["team"] != "web" || tags["stage"] != "prod" || tags["aws:x"] != "" {
				t.Errorf("%s: %s has the tags %v", method, s.Meta().ID, tags)
			}
		}
		if copies == 0 {
			t.Errorf("%s: got no copy", method)
		}
		isLeft := strings.Contains(fmt.Sprint(p.Findings), "volume")
		if wantLeft := method == distribution.ByImage; isLeft != wantLeft || volumes[""] != wantLeft {
			t.Errorf("%s: got the values %v; listed as left: %v, want %v", method, volumes, isLeft, wantLeft)
		}
		if method == distribution.BySnapshot && len(volumes) < 2 {
			t.Errorf("%s: got the values %v, want one for each volume", method, volumes)
		}
	}
}

// Tags of the source never fail a run: those that exceed the limit are left out, and listed.
func TestDecide_tooManyCarriedTags(t *testing.T) {
	many, fewer := map[string]string{}, map[string]string{}
	for i := range 50 {
		many[fmt.Sprintf("key%02d", i)] = "x"
		if i < 47 { // a run adds a tag to each snapshot, which stores the accounts with permissions
			fewer[fmt.Sprintf("key%02d", i)] = "x"
		}
	}
	for _, strict := range []bool{false, true} {
		w := newLimitWorld()
		w.req.Strict = strict
		w.facts.Images[tokyo].Image.Tags = ec2Tags(many)
		w.target().Tags = map[string]distribution.Text{"zone": "a"}
		tagSnapshots(w, fewer)
		p := plan.Assess(w.req, w.facts).Decide()
		if p.Refused() != strict {
			t.Errorf("on_attribute_loss = fail %v: got %v", strict, refusals(p))
		}
		text := fmt.Sprint(p.Findings)
		for _, key := range []string{"key46, key47, key48, key49", ": team, volume"} {
			if !strings.Contains(text, key) {
				t.Errorf("got %s, want the keys %s", text, key)
			}
		}
		for _, s := range p.Steps {
			if copied, ok := s.(*step.CopySnapshot); ok && len(copied.Tags) > 50 {
				t.Errorf("%s has %d tags", copied.ID, len(copied.Tags))
			}
			if image, ok := s.(*step.RegisterImage); ok && (image.Tags["zone"] != "a" || len(image.Tags) > 50) {
				t.Errorf("%s has the tags %v", image.ID, image.Tags)
			}
		}
	}
}
