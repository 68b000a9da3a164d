// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/resume"
)

// withFiles returns options whose files are in a new directory.
func (s *stage) withFiles(options map[string]any) (directory string) {
	directory = s.TempDir()
	options["output_directory"] = directory
	return directory
}

// resume runs a resume file as Packer does, with values for its variables.
func (s *stage) resume(path string, variables map[string]string) (*artifact, error) {
	s.Helper()
	p := &PostProcessor{client: s.world, seed: 1}
	value := s.parse(path, p.ConfigSpec(), variables)
	for range 2 {
		err := p.Configure(
			map[string]any{"packer_build_name": "resume", "packer_builder_type": "null"},
			value,
		)
		if err != nil {
			s.Fatal(err)
		}
	}
	return s.postProcess(s.Context(), p, nullBuilder)
}

// parse returns the options of a resume file. A variable without a value has its default.
func (s *stage) parse(path string, spec hcldec.ObjectSpec, variables map[string]string) cty.Value {
	s.Helper()
	file, diags := hclparse.NewParser().ParseHCLFile(path)
	if diags.HasErrors() {
		s.Fatal(diags)
	}
	content, diags := file.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "packer"},
		{Type: "variable", LabelNames: []string{"name"}},
		{Type: "source", LabelNames: []string{"type", "name"}},
		{Type: "build"},
	}})
	if diags.HasErrors() {
		s.Fatal(diags)
	}
	values := map[string]cty.Value{}
	for _, block := range content.Blocks.OfType("variable") {
		attributes, _ := block.Body.JustAttributes()
		name := block.Labels[0]
		if value, given := variables[name]; given {
			values[name] = cty.StringVal(value)
		} else if standard := attributes["default"]; standard != nil {
			values[name], _ = standard.Expr.Value(nil)
		} else {
			s.Fatalf("the variable %s has no value", name)
		}
	}
	build, _, diags := content.Blocks.OfType("build")[0].Body.PartialContent(&hcl.BodySchema{
		Blocks: []hcl.BlockHeaderSchema{{Type: "post-processor", LabelNames: []string{"type"}}},
	})
	if diags.HasErrors() {
		s.Fatal(diags)
	}
	value, diags := hcldec.Decode(
		build.Blocks[0].Body,
		spec,
		&hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(values)}},
	)
	if diags.HasErrors() {
		s.Fatal(diags)
	}
	return value
}

// secrets returns the values of the variables that the resume files of the tests have.
func (s *stage) secrets() map[string]string {
	return map[string]string{
		"external_id": "hush-external",
		"access_key":  *s.key.AccessKeyId,
		"secret_key":  *s.key.SecretAccessKey,
	}
}

// finished fails the test unless each account has one AMI, nothing temporary is left and the protection is off. Without
// accounts, the run was given up.
func (s *stage) finished(directory string, accounts ...string) {
	s.Helper()
	for _, account := range accounts {
		if n := len(s.images(account)); n != 1 {
			s.Errorf("account %s has %d AMIs, want 1", account, n)
		}
	}
	s.tidy()
	if protected, ours := s.protected(); protected || ours {
		s.Errorf("the source AMI is protected: %v, by a run: %v", protected, ours)
	}
	if files, _ := filepath.Glob(filepath.Join(directory, "*.pkr.hcl")); len(files) > 0 {
		s.Errorf("got the resume files %v after a success", files)
	}
	manifest := "manifest.json"
	if len(accounts) == 0 { // a clean-up has a manifest of its own
		manifest = "manifest-cleanup.json"
	}
	m, _ := readManifest(s.T, filepath.Join(directory, manifest))
	if m.Status != report.Succeeded || m.Resume != nil {
		s.Errorf("got a manifest with status %s and resume %v", m.Status, m.Resume)
	}
}

// A run that lacked a permission is resumed with the resume file alone, once it has the permission.
func TestResume_afterRefusal(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod, other)
		directory := s.withFiles(o)
		s.setTargetActions(other, `["ec2:*","kms:DescribeKey"]`)
		_, err := s.run(s.Context(), o)
		s.checkError(err)
		path := filepath.Join(directory, resume.FileName)
		for _, part := range []string{
			"Resume:  packer build -var external_id=EXTERNAL_ID " + path + "\n",
			"Give up: packer build -var mode=cleanup -var external_id=EXTERNAL_ID " + path + "\n",
			"Report:  " + filepath.Join(directory, "report.html") + "\n",
		} {
			if !strings.Contains(err.Error(), part) {
				s.Errorf("got %v, want %q in it", err, part)
			}
		}
		m, _ := readManifest(s.T, filepath.Join(directory, "manifest.json"))
		if m.Resume == nil || m.Resume.File != resume.FileName || !slices.Equal(m.Resume.Variables, []string{"external_id"}) {
			s.Errorf("got the manifest's resume %+v", m.Resume)
		}

		copies := len(s.made())
		s.setTargetActions(other, `["ec2:*","kms:*"]`)
		if _, err := s.resume(path, s.secrets()); err != nil {
			s.Fatal(err)
		}
		s.finished(directory, prod, other)
		if more := len(s.made()) - copies; more != 3 { // two volumes and the AMI: what was staged is not copied again
			s.Errorf("got %d copies and registrations in the resumed run, want 3", more)
		}
		resumed, _ := readManifest(s.T, filepath.Join(directory, "manifest.json"))
		if resumed.Run.ResumedRunID != m.Run.ID || m.Run.ID == "" {
			s.Errorf("got the resumed run %q, want %q", resumed.Run.ResumedRunID, m.Run.ID)
		}
	})
}

// The record of a killed run says that the run is active. A run that resumes it does not wait until the record lapses.
func TestResume_afterKill(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		directory := s.withFiles(o)
		ctx, cancel := context.WithCancelCause(s.Context())
		p := &PostProcessor{client: s.world.NewCrashingClient(60, false, cancel), seed: 1}
		if err := p.Configure(o); err != nil {
			s.Fatal(err)
		}
		if _, err := s.postProcess(ctx, p, "mitchellh.amazonebs"); err == nil {
			s.Fatal("got no error")
		}
		started := time.Now()
		if _, err := s.resume(filepath.Join(directory, resume.FileName), s.secrets()); err != nil {
			s.Fatal(err)
		}
		s.finished(directory, prod)
		if took := time.Since(started); took > 30*time.Minute {
			s.Errorf("the resumed run took %v", took)
		}
	})
}

func TestResume_afterCancel(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		directory := s.withFiles(o)
		ctx, cancel := context.WithCancel(s.Context())
		time.AfterFunc(time.Minute, cancel)
		_, err := s.run(ctx, o)
		s.checkError(err)
		if _, err := s.resume(filepath.Join(directory, resume.FileName), s.secrets()); err != nil {
			s.Fatal(err)
		}
		s.finished(directory, prod)
		if limit := 65 * time.Second; s.screen.silence > limit {
			s.Errorf("the screen was silent for %v, want at most %v:\n%s", s.screen.silence, limit, s.screen)
		}
	})
}

// A wrong option may be the cause. The user corrects it in the resume file.
func TestResume_withChangedOption(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		directory := s.withFiles(o)
		o["target"].([]any)[0].(map[string]any)["kms_key_id"] = "alias/missing"
		_, err := s.run(s.Context(), o)
		s.checkError(err)
		if want := "kms_key_id in your template and in resume.pkr.hcl"; !strings.Contains(err.Error(), want) {
			s.Errorf("got %v, want %q in it", err, want)
		}
		path := filepath.Join(directory, resume.FileName)
		content, err := os.ReadFile(path)
		s.must(err)
		changed := regexp.MustCompile("alias/missing").ReplaceAllString(string(content), "alias/golden")
		s.must(os.WriteFile(path, []byte(changed), 0o600))
		if _, err := s.resume(path, s.secrets()); err != nil {
			s.Fatal(err)
		}
		s.finished(directory, prod)
	})
}

func TestResume_giveUp(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		directory := s.withFiles(o)
		ctx, cancel := context.WithCancel(s.Context())
		time.AfterFunc(2*time.Minute, cancel)
		if _, err := s.run(ctx, o); err == nil {
			s.Fatal("got no error")
		}
		time.Sleep(20 * time.Minute)
		variables := s.secrets()
		variables["mode"] = "cleanup"
		output, err := s.resume(filepath.Join(directory, resume.FileName), variables)
		if err != nil {
			s.Fatal(err)
		}
		if got, want := output.String(), "Cleaned up after "+s.image+"."; got != want {
			s.Errorf("got %q, want %q", got, want)
		}
		s.finished(directory)
		if n := len(s.images(prod)) + len(s.snapshots(prod)); n > 0 {
			s.Errorf("the target has %d AMIs and snapshots", n)
		}
		if !s.mentions(s.image+" is kept. To delete it: aws ec2 deregister-image", nil) {
			s.Error("the run does not say how to delete the AMI")
		}
	})
}

// Credentials of another account are refused, because nothing of the run could be found with them.
func TestResume_otherAccount(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		directory := s.withFiles(o)
		s.closed(prod)
		if _, err := s.run(s.Context(), o); err == nil {
			s.Fatal("got no error")
		}
		path := filepath.Join(directory, resume.FileName)
		content, err := os.ReadFile(path)
		s.must(err)
		s.must(os.WriteFile(path, []byte(strings.ReplaceAll(string(content), `"`+source+`"`, `"`+other+`"`)), 0o600))
		const want = "the credentials are of 111111111111, the run to resume is of 888888888888"
		if _, err := s.resume(path, s.secrets()); err == nil || !strings.Contains(err.Error(), want) {
			s.Errorf("got %v, want %q", err, want)
		}
	})
}

// If a fixed directory has the resume file of another AMI, that file is kept under another name.
func TestResume_filesOfSeveralAMIs(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.options(prod)
		directory := s.withFiles(o)
		s.closed(prod)
		if _, err := s.run(s.Context(), o); err == nil {
			s.Fatal("got no error")
		}
		first, err := os.ReadFile(filepath.Join(directory, resume.FileName))
		s.must(err)
		const otherAMI = "ami-0fedcba9876543210"
		s.must(os.WriteFile(
			filepath.Join(directory, resume.FileName),
			[]byte(strings.ReplaceAll(string(first), s.image, otherAMI)),
			0o600,
		))
		if _, err := s.run(s.Context(), o); err == nil {
			s.Fatal("got no error")
		}
		kept, err := os.ReadFile(filepath.Join(directory, "resume-"+otherAMI+".pkr.hcl"))
		if err != nil || !strings.Contains(string(kept), otherAMI) {
			s.Errorf("the file of the other AMI: %v", err)
		}
		// A second block of the same build does not overwrite the file of the first block.
		if _, err := s.run(s.Context(), o); err == nil {
			s.Fatal("got no error")
		}
		files, _ := filepath.Glob(filepath.Join(directory, "resume*.pkr.hcl"))
		if len(files) != 3 {
			s.Errorf("got the files %v, want 3", files)
		}
		s.open(prod)
		if _, err := s.resume(filepath.Join(directory, resume.FileName), s.secrets()); err != nil {
			s.Fatal(err)
		}
		files, _ = filepath.Glob(filepath.Join(directory, "resume*.pkr.hcl"))
		if want := []string{filepath.Join(directory, "resume-"+otherAMI+".pkr.hcl")}; !slices.Equal(files, want) {
			s.Errorf("got the files %v, want %v", files, want)
		}
	})
}

// "packer build ." must not load the resume file.
func TestConfigure_directoryOfTemplates(t *testing.T) {
	directory := t.TempDir()
	t.Chdir(directory)
	role := map[string]any{"role_name": "golden"}
	target := map[string]any{"account_ids": []any{prod}, "kms_key_id": "default", "assume_role": []any{role}}
	if err := os.WriteFile("golden.pkr.hcl", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for option, want := range map[string]string{
		".":               "is the working directory",
		directory:         "is the working directory",
		"below/..":        "is the working directory",
		"encrypted-ami/x": "",
	} {
		err := new(PostProcessor).Configure(map[string]any{"output_directory": option, "target": []any{target}})
		if got := fmt.Sprint(err); want != "" && !strings.Contains(got, want) || want == "" && err != nil {
			t.Errorf("%s: got %v, want %q", option, err, want)
		}
	}
	if err := os.Mkdir("other", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("other", "web.pkr.hcl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := new(PostProcessor).Configure(map[string]any{"output_directory": "other", "target": []any{target}})
	if err == nil || !strings.Contains(err.Error(), "holds the template web.pkr.hcl") {
		t.Errorf("got %v", err)
	}
}
