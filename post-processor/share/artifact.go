// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package share

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"slices"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
)

// BuilderID tells our artifacts from others.
const BuilderID = "encrypted-ami.share"

// Keys of an artifact's state.
const (
	stateGenerated = "generated_data"       // the build's own data, handed on
	stateResult    = "encrypted-ami.result" // plan.Result as JSON
)

// artifact is the images that the targets own now.
type artifact struct {
	result    plan.Result
	generated map[string]any
	remove    func([]plan.Made) error // takes images and their snapshots away
}

var _ packersdk.Artifact = (*artifact)(nil)

func (*artifact) BuilderId() string { return BuilderID }
func (*artifact) Files() []string   { return nil }

// Id is region:ami-id:account of each image, sorted, with commas between.
func (a *artifact) Id() string {
	ids := make([]string, len(a.result.Images))
	for i, made := range a.result.Images {
		ids[i] = made.At.Region + ":" + made.ImageID + ":" + made.At.Account
	}
	slices.Sort(ids)
	return strings.Join(ids, ",")
}

// String is a line for each image.
func (a *artifact) String() string {
	lines := []string{"Encrypted AMIs are owned by their target accounts:"}
	images := slices.SortedFunc(slices.Values(a.result.Images), func(a, b plan.Made) int {
		return cmp.Or(cmp.Compare(a.At.Account, b.At.Account), cmp.Compare(a.At.Region, b.At.Region))
	})
	for _, made := range images {
		lines = append(lines, fmt.Sprintf("%s %s: %s under %s", made.At.Account, made.At.Region, made.ImageID, strings.Join(keysOf(made), ", ")))
	}
	return strings.Join(lines, "\n")
}

func keysOf(made plan.Made) []string {
	var keys []string
	for _, s := range made.Snapshots {
		keys = append(keys, s.KeyARN)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// State hands on what the build told, so that later post-processors can use it, and gives the result.
func (a *artifact) State(name string) any {
	switch name {
	case stateGenerated:
		return a.generated
	case stateResult:
		text, err := json.Marshal(a.result)
		if err != nil {
			log.Printf("the result cannot be written as JSON: %v", err)
			return nil
		}
		return string(text)
	}
	return nil
}

// Destroy takes the images and their snapshots away. What could not be removed is logged: an error would reach people as a text that they cannot read.
func (a *artifact) Destroy() error {
	if err := a.remove(a.result.Images); err != nil {
		log.Printf("[ERROR] not everything could be removed: %v", err)
	}
	return nil
}
