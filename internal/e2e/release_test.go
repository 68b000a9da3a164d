// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"archive/zip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var release = flag.String("release", "", "folder with the archives and checksums of a release")

// releaseName matches the files of a release: version, protocol, operating system, processor and extension.
var releaseName = regexp.MustCompile(
	`^packer-plugin-encrypted-ami_v(\d+\.\d+\.\d+)_(x5\.\d+)_([a-z]+)_([a-z0-9]+)\.(zip|cdx\.json)$`,
)

// packer init looks for these names: packer-plugin-<name>_v<version>_x<protocol>_<system>_<processor>.zip, and a file
// of checksums.
func TestRelease_installedByPacker(t *testing.T) {
	if *release == "" {
		t.Skip("make release-check lays one out")
	}
	sums, err := filepath.Glob(filepath.Join(*release, "packer-plugin-encrypted-ami_v*_SHA256SUMS"))
	if err != nil || len(sums) != 1 {
		t.Fatalf("%q, %v", sums, err)
	}
	listed, err := os.ReadFile(sums[0])
	if err != nil {
		t.Fatal(err)
	}
	tried := false
	for line := range strings.Lines(string(listed)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		parts := releaseName.FindStringSubmatch(name)
		if parts == nil || parts[5] != "zip" {
			t.Errorf("%q is no name that packer init looks for", name)
			continue
		}
		content, err := os.ReadFile(filepath.Join(*release, name))
		if err != nil {
			t.Fatal(err)
		}
		if has := sha256.Sum256(content); hex.EncodeToString(has[:]) != sum {
			t.Errorf("%s has another checksum than %s", name, sum)
		}
		binary := unpack(t, filepath.Join(*release, name))
		if want := strings.TrimSuffix(name, ".zip"); strings.TrimSuffix(filepath.Base(binary), ".exe") != want {
			t.Errorf("%s holds %s", name, filepath.Base(binary))
		}
		checkSBOM(t, filepath.Join(*release, strings.TrimSuffix(name, ".zip")+".cdx.json"), binary)
		if parts[3] == "linux" && parts[4] == "amd64" {
			isInstalled(t, binary, parts[1], parts[2])
			tried = true
		}
	}
	if !tried {
		t.Error("there is none for linux on amd64")
	}
}

// A release has the program that renders policies. It needs no file beside it.
func TestRelease_rendersPolicies(t *testing.T) {
	if *release == "" {
		t.Skip("make release-check lays one out")
	}
	archives, err := filepath.Glob(filepath.Join(*release, "encrypted-ami-policies_v*_linux_amd64.zip"))
	if err != nil || len(archives) != 1 {
		t.Fatalf("%q, %v", archives, err)
	}
	folder := t.TempDir()
	command := exec.Command(unpack(t, archives[0]), "-out", folder, "-source-account", "123456789012",
		"-build-role", "packer",
		"-source-keys", "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
		"-organization", "o-a1b2c3d4e5", "-target-role", "golden-image-target", "-target-key", "alias/golden-target",
		"-external-id", "golden-images")
	command.Dir = folder
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	policy := string(must(os.ReadFile(filepath.Join(folder, "build-role.json")))(t))
	if !strings.Contains(policy, "o-a1b2c3d4e5") {
		t.Errorf("build-role.json does not name the organization:\n%s", policy)
	}
}

// sbom holds the fields of a CycloneDX document that are compared with a binary.
type sbom struct {
	BOMFormat   string
	SpecVersion string
	Metadata    struct {
		Component struct {
			Version string
			PURL    string
		}
		Properties []struct{ Name, Value string }
	}
	Components []struct{ PURL string }
}

// checkSBOM compares the SBOM of a release with its binary: the version, the digest, and every module that Go has
// linked.
func checkSBOM(t *testing.T, path, binary string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got sbom
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if got.BOMFormat != "CycloneDX" || got.SpecVersion != "1.6" {
		t.Errorf("%s is %s %s, want CycloneDX 1.6", path, got.BOMFormat, got.SpecVersion)
	}

	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	version := "v" + releaseName.FindStringSubmatch(filepath.Base(path))[1]
	if got.Metadata.Component.Version != version ||
		!strings.HasPrefix(got.Metadata.Component.PURL, "pkg:golang/"+info.Main.Path+"@"+version) {
		t.Errorf("%s describes %s, want %s %s", path, got.Metadata.Component.PURL, info.Main.Path, version)
	}

	got.checkDigest(t, path, binary)
	got.checkModules(t, path, info)
}

// checkDigest compares the SHA-256 digest that an SBOM names with that of the binary.
func (got sbom) checkDigest(t *testing.T, path, binary string) {
	t.Helper()
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sum, digest := sha256.Sum256(content), ""
	for _, property := range got.Metadata.Properties {
		if property.Name == "cdx:gomod:binary:hash:SHA-256" {
			digest = property.Value
		}
	}
	if digest != hex.EncodeToString(sum[:]) {
		t.Errorf("%s has the SHA-256 %q, want %x", path, digest, sum)
	}
}

// checkModules compares the components of an SBOM with the modules that Go has linked.
func (got sbom) checkModules(t *testing.T, path string, info *buildinfo.BuildInfo) {
	t.Helper()
	listed := map[string]bool{}
	for _, component := range got.Components {
		purl, _, _ := strings.Cut(component.PURL, "?")
		listed[purl] = true
	}
	linked := []string{"pkg:golang/std@" + info.GoVersion}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		linked = append(linked, "pkg:golang/"+module.Path+"@"+module.Version)
	}
	for _, purl := range linked {
		if !listed[purl] {
			t.Errorf("%s does not list %s", path, purl)
		}
	}
	if len(got.Components) != len(linked) {
		t.Errorf("%s lists %d components, want %d", path, len(got.Components), len(linked))
	}
}

// unpack extracts the only file of an archive.
func unpack(t *testing.T, path string) string {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if len(archive.File) != 1 {
		t.Fatalf("%s holds %d files", path, len(archive.File))
	}
	from, err := archive.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(t.TempDir(), filepath.Base(archive.File[0].Name)), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return to.Name()
}

// isInstalled checks that packer installs the binary, finds it for the requirements of a template, and validates that
// template.
func isInstalled(t *testing.T, binary, version, protocol string) {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), binary, "describe").Output()
	var described struct {
		Version        string
		APIVersion     string   `json:"api_version"`
		PostProcessors []string `json:"post_processors"`
	}
	if err := errors.Join(err, json.Unmarshal(text, &described)); err != nil {
		t.Fatal(err)
	}
	if described.Version != version || described.APIVersion != protocol || len(described.PostProcessors) != 1 {
		t.Errorf("it describes itself as %s", text)
	}
	folder := t.TempDir()
	plugins := filepath.Join(folder, "plugins")
	template := `
packer {
  required_plugins {
    encrypted-ami = {
      source  = "github.com/encrypted-ami/encrypted-ami"
      version = "= ` + version + `"
    }
  }
}
source "null" "existing" {
  communicator = "none"
}
build {
  sources = ["source.null.existing"]
  post-processor "encrypted-ami" {
    existing_amis = { "us-east-1" = "ami-0123456789abcdef0" }

    target {
      account_ids = ["999999999999"]
      kms_key_id  = "default"
    }
  }
}
`
	if err := os.WriteFile(filepath.Join(folder, "template.pkr.hcl"), []byte(template), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{
		{"plugins", "install", "--path", binary, "github.com/encrypted-ami/encrypted-ami"},
		{"init", "."}, // downloads nothing that is already installed
		{"validate", "."},
	} {
		packer := exec.CommandContext(t.Context(), os.Getenv("E2E_PACKER"), arguments...)
		packer.Dir, packer.Env = folder, environment(folder, plugins)
		if output, err := packer.CombinedOutput(); err != nil {
			t.Fatalf("packer %s: %v\n%s", strings.Join(arguments, " "), err, output)
		}
	}
	found, err := filepath.Glob(filepath.Join(
		plugins,
		"github.com",
		"encrypted-ami",
		"encrypted-ami",
		"packer-plugin-encrypted-ami_v"+version+"_"+protocol+"_linux_amd64*",
	))
	if err != nil || len(found) != 2 { // with its checksum
		t.Errorf("installed: %q, %v", found, err)
	}
}
