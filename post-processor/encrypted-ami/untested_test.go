// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// Without permission to create the empty snapshot, there are no test copies. The run reports that at once, counts none
// as succeeded, and starts the real copies without a test.
func TestScreen_testCopiesImpossible(t *testing.T) {
	for _, action := range []string{"ebs:StartSnapshot", "ebs:CompleteSnapshot"} {
		t.Run(action, func(t *testing.T) {
			onStage(t, func(s *stage) {
				users := iam.NewFromConfig(s.world.Config(source, tokyo))
				if err := s.allow(users, `{"Effect":"Allow","NotAction":"`+action+`","Resource":"*"}`); err != nil {
					s.Fatal(err)
				}
				output, err := s.run(s.Context(), s.screenOptions(prod, other))
				if err != nil || len(output.result.Images) != 2 {
					s.Fatalf("got %v, want both destinations", err)
				}
				text := s.screen.String()
				said := strings.Index(text, "Test copies could not be made: ")
				if said < 0 || said > strings.Index(text, "Registering") {
					s.Errorf("got no line at once that the test copies could not be made:\n%s", text)
				}
				for part, want := range map[string]int{
					"Test copies succeeded": 0,
					"Warning: test_copy: 111111111111 in ap-northeast-1: the test copies could not be made: user ci may not " +
						action: 1,
					`"Action":["` + action + `"]`: 1,
				} {
					if got := strings.Count(text, part); got != want {
						s.Errorf("got %d times %q, want %d:\n%s", got, part, want, text)
					}
				}
				s.checkUntested()
			})
		})
	}
}

// checkUntested fails the test unless the manifest and the diagram have no test copy.
func (s *stage) checkUntested() {
	s.Helper()
	m, _ := readManifest(s.T, filepath.Join(s.directory, "manifest.json"))
	tests := 0
	for _, one := range m.Steps {
		if !strings.HasPrefix(one.ID, "test-copy") || strings.HasPrefix(one.ID, "test-copy-delete") {
			continue
		}
		tests++
		want := report.Skipped
		if strings.HasPrefix(one.ID, "test-copy-snapshot") {
			want = report.Failed
		}
		if one.Status != want {
			s.Errorf("got the status %s of %s, want %s", one.Status, one.ID, want)
		}
		if want == report.Failed && one.FindingID == "" {
			s.Errorf("got no finding of %s", one.ID)
		}
	}
	if tests != 6 { // the snapshot, its share, and for each destination a copy and its verification
		s.Errorf("got %d steps of test copies, want 6", tests)
	}
	if text := string(m.Markdown()); !strings.Contains(text, "2 copies, 16 GiB") || strings.Contains(text, "3 copies") {
		s.Errorf("got a diagram with test copies:\n%s", text)
	}
}
