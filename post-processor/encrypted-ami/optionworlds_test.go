// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/optioncoverage"
)

// pairs, blocks and list are options as Packer passes them: maps and blocks, and lists.
type (
	pairs = map[string]any
	list  = []any
)

const (
	oneFailed  = "1 of 2 destinations failed"
	ebsBuilder = "mitchellh.amazonebs"
)

// afterBuild runs a template with the image of a build, on a new stage.
func afterBuild(template func(*stage) pairs) func(*testing.T, func(pairs)) optioncoverage.Outcome {
	return onOptionStage(ebsBuilder, template)
}

// underNull is like afterBuild, for a template that names an existing image.
func underNull(template func(*stage) pairs) func(*testing.T, func(pairs)) optioncoverage.Outcome {
	return onOptionStage(nullBuilder, template)
}

func onOptionStage(builder string, template func(*stage) pairs) func(*testing.T, func(pairs)) optioncoverage.Outcome {
	return func(t *testing.T, change func(pairs)) (outcome optioncoverage.Outcome) {
		t.Chdir(t.TempDir()) // for the default of output_directory
		onStage(t, func(s *stage) {
			s.addSigningKey("2000-01-01T00:00:00Z")
			o := template(s)
			change(o)
			watch := optioncoverage.NewCallRecorder(s.world)
			outcome = s.outcome(o, builder, watch)
			outcome.Seen = append(outcome.Seen, watch.Seen()...)
		})
		return outcome
	}
}

// addSigningKey gives the image a fixed signing key. Everything else in a run follows from the seed.
func (s *stage) addSigningKey(release string) {
	s.Helper()
	secret := strings.Repeat("5a", 16)
	id := sha256.Sum256([]byte("signing key " + secret))
	tag := ec2types.Tag{
		Key:   aws.String(provenance.TagPrefix + "signing-key:" + hex.EncodeToString(id[:4])),
		Value: aws.String(secret + " release=" + release),
	}
	_, err := s.cloud(source).
		CreateTags(s.Context(), &ec2.CreateTagsInput{Resources: []string{s.image}, Tags: []ec2types.Tag{tag}})
	s.must(err)
}

// outcome returns what a user can see of a run.
func (s *stage) outcome(o pairs, builder string, client aws.HTTPClient) (seen optioncoverage.Outcome) {
	s.Helper()
	p := &PostProcessor{client: client, seed: 1, runID: "run-1"}
	for range 2 {
		if err := p.Configure(pairs{"packer_build_name": "golden"}, o); err != nil {
			return optioncoverage.Outcome{Err: err}
		}
	}
	s.screen.Reset()
	output, err := s.postProcess(s.Context(), p, builder)
	if seen.Err = err; err != nil {
		seen.Err = errors.New(withoutVariations(err.Error()))
	}
	see := func(what, text string) {
		for line := range strings.Lines(withoutVariations(text)) {
			seen.Seen = append(seen.Seen, what+": "+strings.TrimSpace(line))
		}
	}
	see("screen", s.screen.String())
	if directory, given := o["output_directory"].(string); given && directory != "" {
		for _, name := range []string{"manifest.json", "report.html", "report.md"} {
			if mode, _ := o["mode"].(string); mode != "" && mode != "distribute" {
				name = strings.Replace(name, ".", "-"+mode+".", 1)
			}
			text, err := os.ReadFile(filepath.Join(directory, name))
			s.must(err)
			see(name, string(text))
		}
	}
	if output == nil {
		return seen
	}
	see("artifact", fmt.Sprintf("%s\n%s\nkept against the template's word: %v", output.Id(), output, s.forced))
	images, _ := output.State(registryimage.ArtifactStateURI).([]*registryimage.Image)
	for _, image := range images {
		see("HCP Packer", fmt.Sprint(*image))
	}
	return seen
}

// withoutVariations replaces the directories of a test and the expected ends of copies, which differ from run to run.
func withoutVariations(text string) string {
	text = regexp.MustCompile(regexp.QuoteMeta(os.TempDir())+`/[^/]+/\d+`).ReplaceAllString(text, "DIR")
	return regexp.MustCompile(`(step_progress,.*),[^,\n]*\n`).ReplaceAllString(text, "$1\n")
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// fixtures creates resources on the stage.
func (s *stage) fixtures() optioncoverage.Fixtures {
	return optioncoverage.Fixtures{T: s.T, World: s.world, Region: tokyo}
}

// rebuilt makes another image the image of the build.
func (s *stage) rebuilt(image string) {
	s.image = image
	s.addSigningKey("2000-01-03T00:00:00Z")
}

// target returns the first target of a template.
func target(o pairs) pairs { return o["target"].(list)[0].(pairs) }

// with returns a template for one target with additional options.
func (s *stage) with(more pairs) pairs {
	o := s.options(prod)
	maps.Copy(target(o), more)
	return o
}

// withAllPermissions is like with, but the target's role has all permissions. There are further keys: alias/second of
// the source and of the target, and the target's alias/golden in another Region.
func (s *stage) withAllPermissions(more pairs) pairs {
	f := s.fixtures()
	f.Key(source, tokyo, "alias/second", source, prod)
	f.Key(prod, tokyo, "alias/second", prod)
	f.Key(prod, "us-west-2", "alias/golden", prod)
	f.Roles(source, prod, other)
	o := s.with(pairs{"assume_role": list{pairs{"role_name": "plain"}}})
	maps.Copy(target(o), more)
	return o
}

func aTarget(s *stage) pairs { return s.withAllPermissions(nil) }

func aSession(s *stage) pairs { return s.session(prod) }

func aCredentialsFile(s *stage) pairs {
	f := s.fixtures()
	f.Roles(source, other)
	return pairs{
		"shared_credentials_file": f.Profiles(
			*s.key.AccessKeyId,
			*s.key.SecretAccessKey,
			source,
			prod,
			other,
		),
		"kms_key_id": "alias/golden",
		"target":     list{pairs{"account_ids": list{prod}, "kms_key_id": "alias/golden", "profile": prod}},
		"share": list{
			pairs{
				"account_ids": list{other},
				"profile":     other,
				"kms_grant":   list{pairs{"grantee_principal": "arn:aws:iam::" + other + ":role/plain"}},
			},
		},
	}
}

// roles returns a template with an assume_role block everywhere, each with all options.
func roles(s *stage) pairs {
	tree := s.grow()
	s.fixtures().Roles(source, source, management, prod, other)
	o := s.options(prod)
	o["assume_role"] = optioncoverage.AssumeRoleBlock(source)
	o["organizations_role"] = optioncoverage.AssumeRoleBlock(management)
	o["target"] = list{
		pairs{
			"organizational_unit_ids": list{tree.upper},
			"exclude_account_ids":     list{other, bare},
			"kms_key_id":              "alias/golden",
			"assume_role":             list{optioncoverage.AssumeRoleBlock(prod)},
		},
	}
	o["share"] = list{
		pairs{
			"account_ids": list{other},
			"assume_role": list{optioncoverage.AssumeRoleBlock(other)},
			"kms_grant":   list{pairs{"grantee_principal": "arn:aws:iam::" + other + ":role/plain"}},
		},
	}
	return o
}

func anOrganization(s *stage) pairs {
	return s.grow().options(func(target pairs) { target["account_ids"], target["on_missing_role"] = list{prod}, "skip" })
}

// oneOfTwo returns a template in which the copies of one target fail. Both targets publish a parameter, and files
// report it.
func oneOfTwo(s *stage) pairs {
	s.world.Inject(awssim.FaultRule{Fault: awssim.LateCopyFailure, Action: "ec2:CopySnapshot", Account: other})
	o := s.options(other, prod)
	for _, t := range o["target"].(list) {
		t.(pairs)["ssm_parameter"] = list{pairs{"name": "/golden"}}
	}
	o["output_directory"] = s.TempDir()
	return o
}

func copiedImage(s *stage) pairs {
	_, err := s.run(s.Context(), s.options(prod))
	s.must(err)
	return s.withExistingAMI(prod)
}

func unencrypted(s *stage) pairs {
	f := s.fixtures()
	s.rebuilt(f.Image(source, "golden 2", f.Snapshot(source, "")))
	o := s.options(prod)
	delete(o, "kms_key_id")
	return o
}

// anotherRegion returns a template for two accounts in a Region without a source image. They can copy the image
// directly, or a staged copy in their Region.
func anotherRegion(s *stage) pairs {
	f := s.fixtures()
	for _, account := range []string{source, prod, other} {
		f.Key(account, "us-west-2", "alias/golden", source, prod, other)
	}
	f.Roles(source, prod, other)
	s.rebuilt(f.Image(source, "golden 2", f.Snapshot(source, "alias/golden")))
	return s.with(pairs{
		"account_ids": list{prod, other},
		"regions":     list{"us-west-2"},
		"assume_role": list{pairs{"role_name": "plain"}},
	})
}

func deprecated(s *stage) pairs {
	s.fixtures().Deprecated(source, s.image, 365*24*time.Hour)
	return s.options(prod)
}

func protectedTarget(s *stage) pairs { return s.with(pairs{"deregistration_protection": pairs{}}) }

// olderRelease returns a template with a release whose successor was distributed two days earlier.
func olderRelease(s *stage) pairs {
	o := s.with(pairs{"retention": pairs{"keep_releases": 1}})
	o["image_family"] = "web"
	_, err := s.run(s.Context(), o)
	s.must(err)
	time.Sleep(48 * time.Hour)
	f := s.fixtures()
	s.rebuilt(f.Image(source, "golden 2", f.Snapshot(source, "")))
	return o
}

// olderSource returns a template for the next release of an image family with source_retention.
func olderSource(s *stage) pairs {
	o := s.options(prod)
	o["image_family"] = "web"
	_, err := s.run(s.Context(), o)
	s.must(err)
	time.Sleep(48 * time.Hour)
	f := s.fixtures()
	s.rebuilt(f.Image(source, "golden 2", f.Snapshot(source, "")))
	o["source_retention"] = pairs{"keep_releases": 1}
	return o
}

// olderPromotion promotes a release whose successor is published in two targets.
func olderPromotion(s *stage) pairs {
	o := s.options(prod, other)
	targets := o["target"].(list)
	for _, t := range targets {
		t.(pairs)["ssm_parameter"] = list{pairs{"name": "/golden"}}
	}

	// distribute copies to one target after the other, so that the IDs are the same each time.
	distribute := func() {
		for i := range targets {
			o["target"] = targets[:i+1]
			_, err := s.run(s.Context(), o)
			s.must(err)
		}
	}

	first := s.image
	distribute()
	time.Sleep(48 * time.Hour)
	f := s.fixtures()
	s.rebuilt(f.Image(source, "golden 2", f.Snapshot(source, "")))
	distribute()
	o["existing_amis"], o["mode"], o["allow_older_release"] = pairs{tokyo: first}, "promote", true
	return o
}

// windows returns a template for a Windows image of AWS. The target enables fast launch, with a launch template that an
// option names. The option is empty for none.
func windows(option string) func(*stage) pairs {
	return func(s *stage) pairs {
		f := s.fixtures()
		s.rebuilt(f.Copied(source, f.Windows(source)))
		return s.with(pairs{"fast_launch": optioncoverage.FastLaunchBlock(option, f.LaunchTemplate(prod))})
	}
}

// aSharedSecret returns a template that writes the ID of the shared image to a SecureString.
func aSharedSecret(s *stage) pairs {
	o := s.with(nil)
	secret := pairs{"name": "/golden", "type": "SecureString", "key_id": "alias/golden"}
	o["share"] = list{pairs{"account_ids": list{other}, "ssm_parameter": list{secret}}}
	return o
}

func aParameter(s *stage) pairs {
	return s.with(pairs{"ssm_parameter": list{pairs{"name": "/golden"}}})
}
