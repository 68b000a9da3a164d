// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Packer destroys the image of a build whose post-processor fails. In these tests the run fails, and the image must
// exist afterwards with all its snapshots.

func TestFailure_secondConfigure(t *testing.T) {
	h := newHost(t, template("", sharing(`
      account_ids = [build.ID]
      kms_key_id  = "alias/golden-target"
`+prodRole)))
	output := h.packer(t, 1, "build", "-color=false", ".")
	says(t, output, "account_ids")
	available(t, h.World, source, "golden", "aws/ebs")
}

func TestFailure_targetKeyBeforeBuild(t *testing.T) {
	bad := strings.ReplaceAll(prod, "alias/golden-target", "alias/missing")
	h, inside := newHostInside(t, preflight("", bad)+template("", sharing(bad)))
	says(t, h.packer(t, 1, "build", "-color=false", "."), "alias/missing", `target "prod"`)
	asked := inside.Records()
	if len(asked.Calls("kms:DescribeKey").ByAccount(target)) == 0 {
		t.Error("the data source did not ask for the target's key")
	}
	if started := asked.Calls("ec2:RunInstances"); len(started) > 0 {
		t.Errorf("an instance was started: %+v", started)
	}
}

func TestFailure_roleDenied(t *testing.T) {
	h := newHost(t, template("", sharing(strings.ReplaceAll(prod, "golden-images-4711", "another-one"))))
	output := h.packer(t, 1, "build", "-color=false", ".")
	says(t, output, "AssumeRole", "999999999999", "prod")
	if strings.Contains(output, "another-one") {
		t.Errorf("the external id is printed:\n%s", output)
	}
	available(t, h.World, source, "golden", "aws/ebs")
}

// pluginOf returns the process of this plugin that a packer process has started.
func pluginOf(t *testing.T, packer int) int {
	t.Helper()
	list := must(exec.CommandContext(t.Context(), "ps", "-axo", "pid=,pgid=,args=").Output())(t)
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && fields[1] == strconv.Itoa(packer) &&
			strings.HasPrefix(filepath.Base(fields[2]), "packer-plugin-encrypted-ami") {
			return must(strconv.Atoi(fields[0]))(t)
		}
	}
	t.Fatalf("no process of the plugin among\n%s", list)
	return 0
}

func says(t *testing.T, output string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(output, word) {
			t.Errorf("the output does not name %q", word)
		}
	}
	if t.Failed() {
		t.Logf("\n%s", output)
	}
}
