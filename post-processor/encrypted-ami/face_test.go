// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

func TestMain(m *testing.M) {
	flag.Parse()
	log.SetOutput(io.Discard)
	awsenv.Main(m)
}

// screen records what Packer would show. Any goroutine may use it, as with Packer's own.
type screen struct {
	packersdk.Ui
	mu sync.Mutex
	strings.Builder
	last    time.Time     // of the latest line for users
	silence time.Duration // longest time between two of these lines
}

func (s *screen) print(words ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(&s.Builder, words...)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Builder.String()
}

func (s *screen) Say(text string) {
	s.measureSilence()
	s.print(text)
}

func (s *screen) Error(text string) {
	s.measureSilence()
	s.print("ERROR:", text)
}

func (s *screen) measureSilence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.last.IsZero() {
		s.silence = max(s.silence, now.Sub(s.last))
	}
	s.last = now
}

func (s *screen) Machine(category string, fields ...string) {
	s.print("machine:", category+","+strings.Join(fields, ","))
}

// built returns the artifact of a builder.
func built(builder, id string, data map[string]any) packersdk.Artifact {
	return &packersdk.MockArtifact{
		BuilderIdValue: builder,
		IdValue:        id,
		StateValues:    map[string]any{"generated_data": data},
	}
}

func TestArtifact_idNamesImages(t *testing.T) {
	images, err := imagesOf("us-east-1:ami-0123456789abcdef0,ap-northeast-1:ami-01234567")
	if err != nil {
		t.Fatal(err)
	}
	want := []distribution.SourceImage{
		{Region: "ap-northeast-1", ImageID: "ami-01234567"},
		{Region: "us-east-1", ImageID: "ami-0123456789abcdef0"},
	}
	if diff := cmp.Diff(want, images); diff != "" {
		t.Error(diff)
	}
	for _, id := range []string{
		"", "Null", "us-east-1:vol-0123456789abcdef0", "us-east-1:ami-0123456789abcdef0,", "ami-0123456789abcdef0",
		"us-east-1:ami-0123456789abcdef0,us-east-1:ami-0123456789abcdef1", "us-east-1:ami-0123456789abcdef0:111111111111",
	} {
		if images, err := imagesOf(id); err == nil {
			t.Errorf("%q was read as %v", id, images)
		}
	}
}

func TestPostProcess_unsupportedArtifact(t *testing.T) {
	var text strings.Builder
	for _, builder := range []string{
		"mitchellh.amazonebs", "mitchellh.amazon.ebssurrogate", "mitchellh.amazon.chroot",
		"packer.post-processor.amazon-import",
		"mitchellh.amazon.instance", "mitchellh.amazon.ebsvolume", "packer.docker",
	} {
		fmt.Fprintf(&text, "%s: %v\n", builder, accepted(builder))
	}
	golden.Equal(t, "testdata/builders.golden", text.String())
}

func TestPostProcess_unsupportedBuilder(t *testing.T) {
	p := new(PostProcessor)
	_, _, _, err := p.PostProcess(
		t.Context(),
		new(screen),
		built("mitchellh.amazon.ebsvolume", "us-east-1:vol-0123456789abcdef0", nil),
	)
	if err == nil || !strings.Contains(err.Error(), "volumes") {
		t.Errorf("got %v", err)
	}
}

// Packer passes the data of a build as a map with keys of any type. The data contains passwords and keys, which must
// not be shown.
func TestGenerated_withoutSecrets(t *testing.T) {
	data := map[any]any{
		"PackerRunUUID":   "run-1",
		"SourceAMI":       "ami-0b",
		"BuildRegion":     "eu-west-1",
		"PackerBuildName": "golden",
		"ID":              "i-1",
		7:                 "x",
		"Password":        "hush",
		"SSHPrivateKey":   "hush",
		"WinRMPassword":   "hush",
	}
	handed := generated(&packersdk.MockArtifact{StateValues: map[string]any{"generated_data": data}})
	if handed["ID"] != "i-1" || len(handed) != 5 || strings.Contains(fmt.Sprint(handed), "hush") {
		t.Errorf("got %v", handed)
	}
	want := distribution.Build{Name: "golden", Region: "eu-west-1", BaseAMI: "ami-0b", RunID: "run-1"}
	if diff := cmp.Diff(want, buildOf(handed, "other")); diff != "" {
		t.Error(diff)
	}
	if build := buildOf(nil, "golden"); build.Name != "golden" || build.RunID == "" {
		t.Errorf("without data: %+v", build)
	}
}

func result() distribution.Result {
	made := func(account, region, id string) distribution.CreatedImage {
		arn := "arn:aws:kms:" + region + ":" + account + ":key/own"
		return distribution.CreatedImage{
			At:      distribution.Location{Account: account, Region: region},
			ImageID: id,
			Snapshots: []distribution.CreatedSnapshot{
				{Device: "/dev/xvda", SnapshotID: "snap-0a", KeyARN: arn, GiB: 8},
				{Device: "/dev/xvdb", SnapshotID: "snap-0b", KeyARN: arn, GiB: 8},
			},
		}
	}
	return distribution.Result{
		Images: []distribution.CreatedImage{
			made("999999999999", "us-west-2", "ami-0c"),
			made("888888888888", "us-west-2", "ami-0d"),
			made("999999999999", "ap-northeast-1", "ami-0b"),
		},
	}
}

func TestArtifact_imagesOfTargets(t *testing.T) {
	a := &artifact{mode: report.Distribute, result: result(), generated: map[string]any{"PackerRunUUID": "run-1"}}
	a.result.Destinations = []distribution.DestinationResult{
		{
			At:       distribution.Location{Account: "777777777777", Region: "us-west-2"},
			Target:   "lab",
			Optional: true,
			State:    distribution.Excluded,
		},
		{At: a.result.Images[0].At, Target: "prod", State: distribution.DestinationSucceeded},
		{
			At:       distribution.Location{Account: "777777777777", Region: "us-east-1"},
			Target:   "lab",
			Optional: true,
			State:    distribution.DestinationFailed,
		},
	}
	none := &artifact{
		mode:   report.Distribute,
		input:  "us-west-2:ami-0a",
		result: distribution.Result{Destinations: a.result.Destinations[:1]},
	}
	golden.Equal(t, "testdata/artifact.golden", a.Id()+"\n"+a.String()+"\n\n"+none.Id()+"\n"+none.String()+"\n")
	if diff := cmp.Diff(map[string]any{"PackerRunUUID": "run-1"}, a.State("generated_data")); diff != "" {
		t.Error(diff)
	}
	a.manifest.PluginVersion = "0.1.0"
	var m report.Manifest
	err := json.Unmarshal(
		[]byte(a.State("encrypted-ami.manifest").(string)),
		&m,
	)
	if err != nil || m.PluginVersion != "0.1.0" {
		t.Errorf("got the state %+v, %v, want the manifest", m, err)
	}
	if a.State("par.artifact.metadata") != nil || a.Files() != nil {
		t.Error("HCP Packer gets something")
	}
}

// A mode that creates nothing must not change the artifact ID that later post-processors see.
func TestArtifact_idByMode(t *testing.T) {
	for mode, want := range map[report.Mode]string{
		report.Distribute: "ap-northeast-1:ami-0b:999999999999,us-west-2:ami-0c:999999999999,us-west-2:ami-0d:888888888888",
		report.PlanOnly:   "us-west-2:ami-0a",
		report.Verify:     "us-west-2:ami-0a",
		report.CleanUp:    "us-west-2:ami-0a",
	} {
		a := &artifact{mode: mode, input: "us-west-2:ami-0a", result: result()}
		if got := a.Id(); got != want {
			t.Errorf("%s: got %s, want %s", mode, got, want)
		}
	}
}

func TestArtifact_imagesForHCP(t *testing.T) {
	a := &artifact{mode: report.Distribute, result: result(), base: "ami-0f", hcp: true}
	images, _ := a.State(registryimage.ArtifactStateURI).([]*registryimage.Image)
	if len(images) != 3 {
		t.Fatalf("got %d images, want 3", len(images))
	}
	want := registryimage.Image{
		ImageID:        "ami-0b",
		ProviderName:   "aws",
		ProviderRegion: "ap-northeast-1",
		SourceImageID:  "ami-0f",
		Labels:         map[string]string{"account_ami-0b": "999999999999"},
	}
	if diff := cmp.Diff(want, *images[0]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestArtifact_destroy(t *testing.T) {
	var removed []distribution.CreatedImage
	a := &artifact{result: result(), remove: func(made []distribution.CreatedImage) error {
		removed = made
		return errors.New("one stayed")
	}}
	if err := a.Destroy(); err != nil || len(removed) != 3 {
		t.Errorf("removed %v, error %v", removed, err)
	}
}

type panicking struct{}

func (panicking) Do(*http.Request) (*http.Response, error) { panic("out of luck") }

func TestPanic_becomesError(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "111111111111")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	none := ""
	p := &PostProcessor{client: panicking{}, config: config.Config{OutputDirectory: &none}}
	_, _, _, err := p.PostProcess(
		t.Context(),
		new(screen),
		built("mitchellh.amazonebs", "us-east-1:ami-0123456789abcdef0", nil),
	)
	if err == nil || !strings.Contains(err.Error(), "out of luck") {
		t.Errorf("got %v", err)
	}
}

func TestConfigure_laterErrorKept(t *testing.T) {
	good := map[string]any{"target": []any{map[string]any{"account_ids": []any{"999999999999"}, "kms_key_id": "default"}}}
	bad := map[string]any{"kms_key_id": "golden"}
	p := new(PostProcessor)
	if err := p.Configure(bad); err == nil {
		t.Error("the first Configure accepts a bad option")
	}
	if err := p.Configure(bad); err == nil {
		t.Error("after a first error there is no image to protect yet")
	}
	if err := p.Configure(good); err != nil {
		t.Error(err)
	}
	if err := p.Configure(bad); err != nil || p.invalid == nil {
		t.Errorf("a later Configure: %v, kept: %v", err, p.invalid)
	}
	if err := p.Configure(good); err != nil || p.invalid != nil {
		t.Errorf("a good Configure: %v, kept: %v", err, p.invalid)
	}
}
