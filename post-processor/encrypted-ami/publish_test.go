// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	registryimage "github.com/hashicorp/packer-plugin-sdk/packer/registry/image"
	"github.com/mitchellh/mapstructure"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// publishing returns options whose first target publishes a parameter.
func (s *stage) publishing(accounts ...string) map[string]any {
	o := s.options(accounts...)
	o["target"].([]any)[0].(map[string]any)["ssm_parameter"] = []any{map[string]any{"name": "/golden/{{ .Region }}"}}
	return o
}

// parameter returns the value of an account's parameter. Empty if there is none.
func (s *stage) parameter(account, name string) string {
	s.Helper()
	out, err := ssm.NewFromConfig(s.world.Config(account, tokyo)).
		GetParameter(s.Context(), &ssm.GetParameterInput{Name: &name})
	if err != nil {
		return ""
	}
	return aws.ToString(out.Parameter.Value)
}

// state returns the first destination of the manifest.
func (s *stage) state(path string) report.Destination {
	s.Helper()
	m, _ := readManifest(s.T, path)
	return m.Destinations[0]
}

// An image that a parameter or launch template names stays when Packer destroys the artifact. The others are deleted.
func TestArtifact_destroyKeepsPublished(t *testing.T) {
	onStage(t, func(s *stage) {
		output, err := s.run(s.Context(), s.publishing(prod, other))
		if err != nil {
			s.Fatal(err)
		}
		if err := output.Destroy(); err != nil {
			s.Error(err)
		}
		images := s.images(prod)
		if len(images) != 1 || s.parameter(prod, "/golden/"+tokyo) != aws.ToString(images[0].ImageId) ||
			len(s.images(other)) != 0 {
			s.Errorf("the targets have %d and %d images; the parameter says "+
				"%q", len(images), len(s.images(other)), s.parameter(prod, "/golden/"+tokyo))
		}
	})
}

// Without permission to tag the source image, a run cannot sign its resources. It creates nothing if it would publish
// an image.
func TestPublish_unsignable(t *testing.T) {
	onStage(t, func(s *stage) {
		users := iam.NewFromConfig(s.world.Config(source, tokyo))
		if err := s.allow(
			users,
			`{
				"Effect":"Allow",
				"Action":"*",
				"Resource":"*"},{"Effect":"Deny",
				"Action":"ec2:CreateTags",
				"Resource":"arn:aws:ec2:*::image/*"
			}`,
		); err != nil {
			s.Fatal(err)
		}
		if _, err := s.run(
			s.Context(),
			s.publishing(prod),
		); err == nil || !s.mentions("allow ec2:CreateTags", err) || len(s.made()) > 0 {
			s.Errorf("got %v, %d calls made something", err, len(s.made()))
		}
	})
}

// A target succeeds once everything that publishes its image names that image. Otherwise the target and the run fail,
// and the image stays for the next run.
func TestPublish_targetSucceeds(t *testing.T) {
	onStage(t, func(s *stage) {
		roles := iam.NewFromConfig(s.world.Config(prod, tokyo))
		deny := &iam.PutRolePolicyInput{
			RoleName:   aws.String("golden-image-target"),
			PolicyName: aws.String("but-not"),
			PolicyDocument: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ssm:PutParameter","Resource":"*"}]}`,
			),
		}
		if _, err := roles.PutRolePolicy(s.Context(), deny); err != nil {
			s.Fatal(err)
		}
		o := s.publishing(prod)
		path := manifestOf(s, o)
		_, err := s.run(s.Context(), o)
		if err == nil || !strings.Contains(err.Error(), "1 of 1 destination failed") || !s.mentions("ssm:PutParameter", err) {
			s.Errorf("got %v", err)
		}
		if state := s.state(path); state.Status != report.Failed ||
			string(state.AMIID) != aws.ToString(s.images(prod)[0].ImageId) {
			s.Errorf("the manifest says %+v", state)
		}
		if _, err := roles.DeleteRolePolicy(
			s.Context(),
			&iam.DeleteRolePolicyInput{RoleName: deny.RoleName, PolicyName: deny.PolicyName},
		); err != nil {
			s.Fatal(err)
		}
		if _, err := s.run(s.Context(), o); err != nil {
			s.Error(err)
		}
		if state := s.state(path); state.Status != report.Succeeded || len(s.images(prod)) != 1 ||
			s.parameter(prod, "/golden/"+tokyo) != string(state.AMIID) {
			s.Errorf("the manifest says %+v", state)
		}
	})
}

// merged returns what HCP Packer stores for a build. Packer decodes the state of each artifact and distinguishes images
// by provider, ID and Region. It merges all labels, and the last value of a label counts.
func merged(t *testing.T, states ...any) (images map[string]registryimage.Image, labels map[string]string) {
	t.Helper()
	images, labels = map[string]registryimage.Image{}, map[string]string{}
	for _, state := range states {
		var decoded []registryimage.Image
		decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{Result: &decoded, WeaklyTypedInput: true})
		if err == nil {
			err = decoder.Decode(state)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, image := range decoded {
			if err := image.Validate(); err != nil {
				t.Error(err)
			}
			images[image.String()] = image
			maps.Copy(labels, image.Labels)
		}
	}
	return images, labels
}

// Two accounts in one Region have images beside that of the builder. HCP Packer gets all three, each with its account.
func TestHCPPacker_allAccounts(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod, other)
		o["hcp_packer"] = true
		output, err := s.run(s.Context(), o)
		if err != nil {
			s.Fatal(err)
		}
		builders := []*registryimage.Image{
			{ImageID: s.image, ProviderName: "aws", ProviderRegion: tokyo, Labels: map[string]string{"source_image": "ami-0"}},
		}
		images, labels := merged(s.T, builders, output.State(registryimage.ArtifactStateURI))
		if len(images) != 3 || len(labels) != 3 || labels["source_image"] != "ami-0" {
			s.Errorf("images %v, labels %v", images, labels)
		}
		for _, account := range []string{prod, other} {
			id := *s.images(account)[0].ImageId
			image := images["provider:aws, image:"+id+", region:"+tokyo]
			if image.SourceImageID != "" || labels["account_"+id] != account {
				s.Errorf("%s: %+v, labels %v", account, image, labels)
			}
		}
	})
}

func TestHCPPacker_off(t *testing.T) {
	onStage(t, func(s *stage) {
		output, err := s.run(s.Context(), s.options(prod))
		if err != nil || output.State(registryimage.ArtifactStateURI) != nil {
			s.Errorf("%v, %v", output.State(registryimage.ArtifactStateURI), err)
		}
	})
}

// A failed lookup is reported, and the result keeps the existing image.
func TestVerify_warningKeepsImage(t *testing.T) {
	onStage(t, func(s *stage) {
		_, err := iam.NewFromConfig(s.world.Config(prod, tokyo)).PutRolePolicy(s.Context(), &iam.PutRolePolicyInput{
			RoleName:   aws.String("golden-image-target"),
			PolicyName: aws.String("but-not"),
			PolicyDocument: aws.String(
				`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ec2:GetEbsEncryptionByDefault","Resource":"*"}]}`,
			),
		})
		if err != nil {
			s.Fatal(err)
		}
		time.Sleep(time.Minute) // until the policy is effective everywhere
		o := s.options(prod)
		o["target"].([]any)[0].(map[string]any)["kms_key_id"] = "default"
		if _, err := s.run(s.Context(), o); err != nil {
			s.Fatal(err)
		}
		o["existing_amis"], o["mode"] = map[string]any{tokyo: s.image}, "verify"
		path := filepath.Join(filepath.Dir(manifestOf(s, o)), "manifest-verify.json")
		output, err := s.after(s.Context(), nullBuilder, o)
		if err != nil {
			s.Fatal(err)
		}
		d := s.state(path)
		if d.Status != report.Succeeded || string(d.AMIID) != *s.images(prod)[0].ImageId ||
			strings.Contains(output.String(), "no image") {
			s.Errorf("got %+v, and %s", d, output)
		}
	})
}

// After a run, mode = "verify" finds no difference and changes nothing. If the parameter was changed since, it fails
// and names the parameter.
func TestVerify_parameterDeleted(t *testing.T) {
	onStage(t, func(s *stage) {
		if _, err := s.run(s.Context(), s.publishing(prod)); err != nil {
			s.Fatal(err)
		}
		o := s.publishing(prod)
		o["existing_amis"], o["mode"] = map[string]any{tokyo: s.image}, "verify"
		before := len(s.world.Records())
		if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
			s.Error(err)
		}
		if changed := s.world.Records()[before:].Mutating(); len(changed) > 0 {
			s.Errorf("something was changed: %+v", changed)
		}
		name := "/golden/" + tokyo
		store := ssm.NewFromConfig(s.world.Config(prod, tokyo))
		if _, err := store.DeleteParameter(s.Context(), &ssm.DeleteParameterInput{Name: &name}); err != nil {
			s.Fatal(err)
		}
		if _, err := s.after(
			s.Context(),
			nullBuilder,
			o,
		); err == nil || !strings.Contains(err.Error(), "SSM parameter "+name+" does not name ami-") {
			s.Errorf("got %v", err)
		}
	})
}
