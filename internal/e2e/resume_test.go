// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// second is another Region of both accounts.
const second = "us-west-2"

func TestResume_afterRefusedRole(t *testing.T) {
	h := newHost(t, template("", sharing(prod)))
	closed(t, h.World)
	output := h.packer(t, 1, "build", "-color=false", ".")
	intact(t, h.World, region)
	opened(t, h.World)
	h.resume(t, output)
	checkDistributed(t, h.World, region)
}

func TestResume_twoRegions(t *testing.T) {
	h := newHost(t, template(fmt.Sprintf("ami_regions = [%q, %q]", region, second), sharing(prod)))
	keysIn(t, h.World, second)
	closed(t, h.World)
	output := h.packer(t, 1, "build", "-color=false", ".")
	for _, r := range []string{region, second} {
		intact(t, h.World, r)
	}
	opened(t, h.World)
	h.resume(t, output)
	for _, r := range []string{region, second} {
		checkDistributed(t, h.World, r)
	}
}

// A wrong option may be the cause of a failure. After a correction in the resume file, that file alone resumes the run
// on another machine.
func TestResume_correctedOption(t *testing.T) {
	h := newHost(t, template("", sharing(strings.ReplaceAll(prod, "golden-image-target", "golden-image-targt"))))
	output := h.packer(t, 1, "build", "-color=false", ".")
	intact(t, h.World, region)
	says(t, output, "golden-image-targt")
	path := filepath.Join(h.Folder, resumeFile(t, output))
	content := string(must(os.ReadFile(path))(t))
	corrected := strings.ReplaceAll(content, "golden-image-targt", "golden-image-target")
	if err := os.WriteFile(path, []byte(corrected), 0o600); err != nil || corrected == content {
		t.Fatalf("the file has no role to correct (%v):\n%s", err, content)
	}
	h.resume(t, output)
	checkDistributed(t, h.World, region)
}

// The resume file alone is enough to give up a failed run. No temporary resource is left, and the AMI of the build can
// be deregistered.
func TestResume_giveUp(t *testing.T) {
	h := newHost(t, template("", sharing(prod)), "-speed", "60")
	var output bytes.Buffer
	packer := h.Command(t.Context(), "build", "-color=false", ".")
	packer.Stdout, packer.Stderr = &output, &output
	if err := packer.Start(); err != nil {
		t.Fatal(err)
	}
	copying(t, h.World)
	if err := syscall.Kill(-packer.Process.Pid, syscall.SIGINT); err != nil {
		t.Error(err)
	}
	if err := packer.Wait(); err == nil {
		t.Errorf("packer calls it a success:\n%s", output.String())
	}
	path := resumeFile(t, output.String())
	given := h.packer(t, 0, printedArguments("Give up:", output.String(), path)...)
	says(
		t, given,
		"Nothing is left behind", "Disabling deregistration protection", "To delete it: aws ec2 deregister-image",
	)
	if n := len(owned(t, h.World, target, region)) + len(ownSnapshots(t, h.World, target, region)); n > 0 {
		t.Errorf("the target has %d AMIs and snapshots, want none", n)
	}
	checkSourceAlone(t, h.World, region)
}

// The test kills packer, or the plugin alone, while the target copies. Virtual time is slow enough here that a copy
// lasts seconds.
func TestResume_afterKill(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(t *testing.T, packer int) error{
		"SIGKILL of the plugin": func(t *testing.T, packer int) error {
			return syscall.Kill(pluginOf(t, packer), syscall.SIGKILL)
		},
		"SIGQUIT of the plugin, which ends it as a panic " +
			"does": func(t *testing.T, packer int) error { return syscall.Kill(pluginOf(t, packer), syscall.SIGQUIT) },
		"SIGKILL of packer and of the plugins": func(_ *testing.T, packer int) error {
			return syscall.Kill(-packer, syscall.SIGKILL)
		},
		"SIGTERM of packer": func(_ *testing.T, packer int) error {
			return syscall.Kill(packer, syscall.SIGTERM)
		},
		"SIGINT of the process's group": func(_ *testing.T, packer int) error {
			return syscall.Kill(-packer, syscall.SIGINT)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, template("", sharing(prod)), "-speed", "60")
			var output bytes.Buffer
			packer := h.Command(t.Context(), "build", "-color=false", ".")
			packer.Stdout, packer.Stderr = &output, &output
			if err := packer.Start(); err != nil {
				t.Fatal(err)
			}
			copying(t, h.World)
			if err := cut(t, packer.Process.Pid); err != nil {
				t.Error(err)
			}
			begun := time.Now()
			if err := packer.Wait(); err == nil {
				t.Errorf("packer calls it a success:\n%s", output.String())
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("it took %v to end", took)
			}
			intact(t, h.World, region)
			h.resume(t, output.String())
			checkDistributed(t, h.World, region)
		})
	}
}

// resumeFiles matches the path of the resume file, in the error of a run and in the line before it creates anything.
var resumeFiles = regexp.MustCompile(`(?:Resume:  packer build (?:-var \S+ )*|Writing )(\S*resume\.pkr\.hcl)`)

// printedFlags matches the flags of the commands in the error of a run. They must be before the file.
var printedFlags = regexp.MustCompile(`(Resume: |Give up:) packer build ((?:-var \S+ )*)\S*resume\.pkr\.hcl\n`)

// printedArguments returns the arguments of a printed command, with the value of the external ID. A run that was killed
// has printed none.
func printedArguments(command, output, path string) []string {
	flags := "-var external_id=EXTERNAL_ID "
	for _, found := range printedFlags.FindAllStringSubmatch(output, -1) {
		if found[1] == command {
			flags = found[2]
		}
	}
	flags = strings.ReplaceAll(flags, "external_id=EXTERNAL_ID", "external_id=golden-images-4711")
	return slices.Concat([]string{"build", "-color=false"}, strings.Fields(flags), []string{path})
}

// resume resumes a run with only the file that it printed, on a machine without a template. It returns the output and
// that machine.
func (h Host) resume(t *testing.T, output string) (string, Host) {
	t.Helper()
	file := resumeFile(t, output)
	content := must(os.ReadFile(filepath.Join(h.Folder, file)))(t)
	h.checkNoSecrets(t, filepath.Dir(file))
	if inspected := h.packer(t, 0, "inspect", "."); strings.Contains(inspected, "resume") {
		t.Errorf("the template loads the resume file:\n%s", inspected)
	}

	h.Folder = t.TempDir()
	path := filepath.Join("downloaded", filepath.Base(file))
	if err := os.Mkdir(filepath.Join(h.Folder, "downloaded"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.Folder, path), content, 0o600); err != nil {
		t.Fatal(err)
	}
	h.packer(t, 0, "init", path)
	return h.packer(t, 0, printedArguments("Resume: ", output, path)...), h
}

// resumeFile returns the path of the resume file that a run has printed.
func resumeFile(t *testing.T, output string) string {
	t.Helper()
	found := resumeFiles.FindStringSubmatch(output)
	if found == nil {
		t.Fatalf("no resume file is named:\n%s", output)
	}
	return found[1]
}

// checkNoSecrets fails the test if a file in a directory contains a secret.
func (h Host) checkNoSecrets(t *testing.T, directory string) {
	t.Helper()
	files := must(filepath.Glob(filepath.Join(h.Folder, directory, "*")))(t)
	if len(files) < 4 {
		t.Errorf("got the files %v, want a manifest, two reports and a resume file", files)
	}
	for _, file := range files {
		text := read(t, file)
		if strings.Contains(text, "golden-images-4711") || strings.Contains(text, h.User.Secret) {
			t.Errorf("a secret is in %s:\n%s", file, text)
		}
	}
}

// intact checks that the builder's image exists with its snapshots, and is protected.
func intact(t *testing.T, w *World, region string) {
	t.Helper()
	var golden types.Image
	for _, image := range owned(t, w, source, region) {
		if aws.ToString(image.Name) == "golden" {
			golden = image
		}
	}
	if golden.State != types.ImageStateAvailable || len(golden.BlockDeviceMappings) != 2 ||
		!strings.HasPrefix(aws.ToString(golden.DeregistrationProtection), "enabled") {
		t.Errorf(
			"%q in %s is %s, has %d volumes and its protection is %q",
			aws.ToString(golden.ImageId),
			region,
			golden.State,
			len(golden.BlockDeviceMappings),
			aws.ToString(golden.DeregistrationProtection),
		)
	}
	for _, device := range golden.BlockDeviceMappings {
		must(client(
			w,
			source,
			region,
		).DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{SnapshotIds: []string{*device.Ebs.SnapshotId}}))(t)
	}
}

// checkDistributed checks that the target owns one image with its snapshots under its key and nothing else, and that
// the source account has only its own image, without protection.
func checkDistributed(t *testing.T, w *World, region string) {
	t.Helper()
	images, snapshots := owned(t, w, target, region), ownSnapshots(t, w, target, region)
	if len(images) != 1 || *images[0].Name != "golden" || len(snapshots) != 2 {
		t.Errorf("%s has %d images and %d snapshots in %s", target, len(images), len(snapshots), region)
	}
	key := *must(kms.NewFromConfig(w.Config(target, region)).DescribeKey(t.Context(), &kms.DescribeKeyInput{
		KeyId: aws.String("alias/golden-target"),
	}))(t).KeyMetadata.Arn
	for _, snapshot := range snapshots {
		if snapshot.State != types.SnapshotStateCompleted || aws.ToString(snapshot.KmsKeyId) != key {
			t.Errorf("%s is %s under %s", *snapshot.SnapshotId, snapshot.State, aws.ToString(snapshot.KmsKeyId))
		}
	}
	checkSourceAlone(t, w, region)
}

// checkSourceAlone checks that the source account has only its own AMI, which is neither shared nor protected.
func checkSourceAlone(t *testing.T, w *World, region string) {
	t.Helper()
	used := map[string]bool{}
	for _, image := range owned(t, w, source, region) {
		if state := aws.ToString(image.DeregistrationProtection); strings.HasPrefix(state, "enabled") {
			t.Errorf("%s is still protected: %s", *image.Name, state)
		}
		for _, device := range image.BlockDeviceMappings {
			used[*device.Ebs.SnapshotId] = true
		}
	}
	for _, snapshot := range ownSnapshots(t, w, source, region) {
		if !used[*snapshot.SnapshotId] {
			t.Errorf("%s is left behind in %s", *snapshot.SnapshotId, region)
		}
		shared := must(client(w, source, region).DescribeSnapshotAttribute(t.Context(), &ec2.DescribeSnapshotAttributeInput{
			SnapshotId: snapshot.SnapshotId, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
		}))(t)
		if len(shared.CreateVolumePermissions) > 0 {
			t.Errorf("%s is still shared in %s", *snapshot.SnapshotId, region)
		}
	}
}

func client(w *World, account, region string) *ec2.Client {
	return ec2.NewFromConfig(w.Config(account, region))
}

func owned(t *testing.T, w *World, account, region string) []types.Image {
	t.Helper()
	return must(
		client(w, account, region).DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}),
	)(t).Images
}

func ownSnapshots(t *testing.T, w *World, account, region string) []types.Snapshot {
	t.Helper()
	return must(
		client(w, account, region).DescribeSnapshots(t.Context(), &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}}),
	)(t).Snapshots
}

// copying waits until a copy is in progress in the target.
func copying(t *testing.T, w *World) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for ; ; time.Sleep(50 * time.Millisecond) {
		out, err := w.ec2(target).DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{OwnerIds: []string{"self"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, snapshot := range out.Snapshots {
			if snapshot.State == types.SnapshotStatePending {
				return
			}
		}
	}
}

// closed makes the trust policy of the target's role deny every principal. opened lets the source account assume the
// role again.
func closed(t *testing.T, w *World) {
	t.Helper()
	trust(t, w, `{"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}`)
}

func opened(t *testing.T, w *World) {
	t.Helper()
	trust(t, w, `{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::`+source+`:root"}, "Action": "sts:AssumeRole"}`)
}

func trust(t *testing.T, w *World, statement string) {
	t.Helper()
	must(iam.NewFromConfig(w.Config(target, region)).UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{
		RoleName:       aws.String("golden-image-target"),
		PolicyDocument: aws.String(`{"Version": "2012-10-17", "Statement": [` + statement + `]}`),
	}))(t)
}

// keysIn creates the keys of both accounts in a Region. The target may use the source's key, as in the home Region.
func keysIn(t *testing.T, w *World, region string) {
	t.Helper()
	for account, alias := range map[string]string{source: "alias/golden-source", target: "alias/golden-target"} {
		makeKey(t, w, account, region, alias, account, target)
	}
}
