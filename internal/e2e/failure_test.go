// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Packer destroys the image of a build whose post-processor fails (tried: an error, a panic, a killed plugin, a cancel). Each of
// these runs fails in another way, and the image is there afterwards with all its snapshots.

func TestAnErrorThatOnlyTheSecondConfigureCanFindLeavesTheImageAlone(t *testing.T) {
	h := newHost(t, template("", sharing(`
      account_ids = [build.ID]
      kms_key_id  = "alias/golden-target"
`+prodRole)))
	output := h.packer(t, 1, "build", "-color=false", ".")
	says(t, output, "account_ids")
	available(t, h.World, source, "golden", "aws/ebs")
}

func TestARefusedRoleLeavesTheImageAlone(t *testing.T) {
	h := newHost(t, template("", sharing(strings.ReplaceAll(prod, "hand-over-4711", "another-one"))))
	output := h.packer(t, 1, "build", "-color=false", ".")
	says(t, output, "AssumeRole", "999999999999", "prod")
	if strings.Contains(output, "another-one") {
		t.Errorf("the external id is printed:\n%s", output)
	}
	available(t, h.World, source, "golden", "aws/ebs")
}

func TestAKilledPluginLosesNoImage(t *testing.T) {
	h := newHost(t, template("", sharing(prod)))
	h.interrupt(t, func(packer int) {
		if err := syscall.Kill(pluginOf(t, packer), syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	available(t, h.World, source, "golden", "aws/ebs")
}

func TestACancelledRunLosesNoImage(t *testing.T) {
	h := newHost(t, template("", sharing(prod)))
	h.interrupt(t, func(packer int) {
		if err := syscall.Kill(-packer, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	})
	available(t, h.World, source, "golden", "aws/ebs")
}

// interrupt starts a build, does something to the packer of a process id as soon as the first copy is begun, and waits for the end.
func (h Host) interrupt(t *testing.T, do func(packer int)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := h.Command(ctx, "build", "-color=false", ".")
	began := make(chan struct{})
	output := &tripwire{wire: "copies, ", trip: func() { close(began) }} // the last line of the plan
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case <-began:
		do(command.Process.Pid)
		<-ended
	case <-ended:
	}
	if command.ProcessState.Success() || !output.tripped {
		t.Fatalf("the build was not interrupted (%v)\n%s", command.ProcessState, output.text.String())
	}
}

// tripwire keeps what is written and calls trip when wire first appears.
type tripwire struct {
	wire    string
	trip    func()
	tripped bool
	text    bytes.Buffer
}

func (w *tripwire) Write(p []byte) (int, error) {
	n, err := w.text.Write(p)
	if !w.tripped && bytes.Contains(w.text.Bytes(), []byte(w.wire)) {
		w.tripped = true
		w.trip()
	}
	return n, err
}

// pluginOf finds the process of this plugin that works for a packer.
func pluginOf(t *testing.T, packer int) int {
	t.Helper()
	list := must(exec.CommandContext(t.Context(), "ps", "-axo", "pid=,pgid=,args=").Output())(t)
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && fields[1] == strconv.Itoa(packer) && strings.HasPrefix(filepath.Base(fields[2]), "packer-plugin-encrypted-ami") {
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
