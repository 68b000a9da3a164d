// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// The plan of a resumed run says what the earlier run has copied, and expects no time for it.
func TestScreen_resumedPlan(t *testing.T) {
	onStage(t, func(s *stage) {
		s.keyless(prod)
		if _, err := s.run(s.Context(), s.options(prod)); err == nil {
			s.Fatal("got no error")
		}
		time.Sleep(time.Hour) // the staged copies are complete
		s.setTargetActions(prod, `["ec2:*","kms:*"]`)
		s.screen = new(screen)
		o := s.withExistingAMI(prod)
		s.directory = s.withFiles(o)
		if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
			s.Fatal(err)
		}
		text, _, _ := strings.Cut(s.shown(nil), "Sharing ") // later steps of several volumes have no order
		golden.Equal(s.T, "testdata/screen-resumed.golden", text)
	})
}

// The output of a plan without copies announces no dry runs, no alternatives and no staged copies.
func TestScreen_nothingToCopy(t *testing.T) {
	onStage(t, func(s *stage) {
		if _, err := s.run(s.Context(), s.options(prod)); err != nil {
			s.Fatal(err)
		}
		s.screen = new(screen)
		o := s.withExistingAMI(prod)
		o["mode"] = "plan"
		if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
			s.Fatal(err)
		}
		for _, part := range []string{"0 dry runs", "Instead:", "Faster:", "will be copied", "0 copies"} {
			if s.mentions(part, nil) {
				s.Errorf("got %q in\n%s", part, s.screen)
			}
		}
		if !strings.Contains(s.screen.String(), "aws/ebs") {
			s.Errorf("got no volumes in\n%s", s.screen)
		}
	})
}
