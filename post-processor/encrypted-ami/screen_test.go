// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package encryptedami

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report/reporttest"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// shown returns the lines that a user sees, and the error as Packer prints it. How fast the copies are is random, so
// their percentages are left out, and which device is the first is not named.
func (s *stage) shown(err error) string {
	text := regexp.MustCompile(`(?m)^(machine: |Copying .*% of |Still ).*\n`).ReplaceAllString(s.screen.String(), "")
	text = regexp.MustCompile(`/dev/xvd[ab], 8 GiB\)|\(/dev/xvd[ab]\)`).
		ReplaceAllStringFunc(text, func(device string) string {
			return strings.NewReplacer("xvda", "xvdX", "xvdb", "xvdX").Replace(device)
		})
	if err != nil {
		text += "\n" + err.Error() + "\n"
	}
	if s.directory != "" {
		text = strings.ReplaceAll(text, s.directory, "encrypted-ami/"+s.image)
	}
	return withoutDrawnIDs(text)
}

// withoutDrawnIDs numbers the ids in a text, and removes times.
func withoutDrawnIDs(text string) string {
	text = regexp.MustCompile(`key/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(text, "key/KEY")
	text = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(text, "UUID")
	text = regexp.MustCompile(`"Sid":"\w+"`).ReplaceAllString(text, `"Sid":"SID"`)
	text = regexp.MustCompile(`until \d\d:\d\d UTC`).ReplaceAllString(text, "until HH:MM UTC")
	seen, counts := map[string]string{}, map[string]int{}
	return regexp.MustCompile(`\b(ami|snap|i)-[0-9a-f]{17}\b`).ReplaceAllStringFunc(text, func(id string) string {
		if seen[id] == "" {
			kind, _, _ := strings.Cut(id, "-")
			counts[kind]++
			seen[id] = fmt.Sprintf("%s-%d", kind, counts[kind])
		}
		return seen[id]
	})
}

// checkError fails the test unless an error is short, does not contain the plan, and names each cause only once.
func (s *stage) checkError(err error) {
	s.Helper()
	if err == nil {
		s.Fatal("got no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) > errorLines {
		s.Errorf("got %d lines, want at most %d:\n%v", len(lines), errorLines, err)
	}
	for _, part := range []string{"Source volumes", "Destinations:", "Steps:", `"Effect"`} {
		if strings.Contains(err.Error(), part) {
			s.Errorf("got %q in the error:\n%v", part, err)
		}
	}
	for _, line := range lines {
		if line != "" && strings.Count(err.Error()+"\n", line+"\n") > 1 {
			s.Errorf("got %q twice in the error:\n%v", line, err)
		}
	}
}

func TestScreen_success(t *testing.T) {
	onStage(t, func(s *stage) {
		output, err := s.run(s.Context(), s.screenOptions(prod, other))
		if err != nil {
			s.Fatal(err)
		}
		golden.Equal(s.T, "testdata/screen-success.golden", s.shown(nil)+withoutDrawnIDs(output.String())+"\n")
	})
}

func TestScreen_failure(t *testing.T) {
	onStage(t, func(s *stage) {
		s.setTargetActions(
			other,
			`["ec2:*","kms:DescribeKey","kms:Decrypt","kms:ReEncryptFrom","kms:GenerateDataKeyWithoutPlaintext"]`,
		)
		_, err := s.run(s.Context(), s.screenOptions(prod, other))
		s.checkError(err)
		golden.Equal(s.T, "testdata/screen-failure.golden", s.shown(err))
		if n := strings.Count(s.screen.String(), `"kms:CreateGrant"`); n != 2 { // one for each key
			s.Errorf("got %d statements, want 2", n)
		}
	})
}

func TestScreen_missingPermission(t *testing.T) {
	onStage(t, func(s *stage) {
		s.setTargetActions(prod, `["ec2:CopySnapshot","ec2:CreateTags","ec2:Describe*","ec2:Get*","kms:*"]`)
		_, err := s.run(s.Context(), s.screenOptions(prod, other))
		s.checkError(err)
		golden.Equal(s.T, "testdata/screen-missing-permission.golden", s.shown(err))
	})
}

func TestScreen_plan(t *testing.T) {
	onStage(t, func(s *stage) {
		s.setTargetActions(prod, `["ec2:CopySnapshot","ec2:CreateTags","ec2:Describe*","ec2:Get*","kms:*"]`)
		output, err := s.run(s.Context(), s.planOptions(prod, other))
		if err != nil {
			s.Fatal(err)
		}
		golden.Equal(s.T, "testdata/screen-plan.golden", s.shown(nil)+output.String()+"\n")
	})
}

func TestScreen_cancel(t *testing.T) {
	onStage(t, func(s *stage) {
		ctx, cancel := context.WithCancel(s.Context())
		time.AfterFunc(time.Minute, cancel)
		_, err := s.run(ctx, s.screenOptions(prod, other))
		s.checkError(err)
		golden.Equal(s.T, "testdata/screen-cancel.golden", s.shown(err))
	})
}

func TestScreen_verify(t *testing.T) {
	onStage(t, func(s *stage) {
		if _, err := s.run(s.Context(), s.options(prod)); err != nil {
			s.Fatal(err)
		}
		s.screen = new(screen)
		if _, err := s.after(s.Context(), nullBuilder, s.verifying(prod)); err != nil {
			s.Fatal(err)
		}
		unchanged := s.shown(nil)
		s.screen = new(screen)
		_, err := s.after(s.Context(), nullBuilder, s.verifying(prod, other))
		s.checkError(err)
		golden.Equal(s.T, "testdata/screen-verify.golden", unchanged+"\n# another destination\n"+s.shown(err))
	})
}

// A verification keeps the files of the run that made the copies.
func TestVerify_keepsFiles(t *testing.T) {
	onStage(t, func(s *stage) {
		o := s.screenOptions(prod)
		if _, err := s.run(s.Context(), o); err != nil {
			s.Fatal(err)
		}
		path := filepath.Join(s.directory, "manifest.json")
		before, err := os.ReadFile(path)
		if err != nil {
			s.Fatal(err)
		}
		o["mode"], o["existing_amis"] = "verify", map[string]any{tokyo: s.image}
		if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
			s.Fatal(err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			s.Errorf("the verification changed the manifest of the run: %v", err)
		}
		for _, name := range []string{"manifest-verify.json", "report-verify.html", "report-verify.md"} {
			if _, err := os.Stat(filepath.Join(s.directory, name)); err != nil {
				s.Error(err)
			}
		}
		m, _ := readManifest(s.T, filepath.Join(s.directory, "manifest-verify.json"))
		if image := m.SourceAMIs[0]; image.AccountID != source || len(image.Volumes) != 2 {
			s.Errorf("got the source AMI %+v", image)
		}
	})
}

func TestScreen_cleanup(t *testing.T) {
	onStage(t, func(s *stage) {
		ctx, cancel := context.WithCancel(s.Context())
		time.AfterFunc(time.Minute, cancel)
		if _, err := s.run(ctx, s.options(prod)); err == nil {
			s.Fatal("got no error")
		}
		time.Sleep(10 * time.Minute)
		s.screen = new(screen)
		o := s.cleaning(prod)
		s.directory = s.withFiles(o)
		if _, err := s.after(s.Context(), nullBuilder, o); err != nil {
			s.Fatal(err)
		}
		golden.Equal(s.T, "testdata/screen-cleanup.golden", s.shown(nil))
		m, _ := readManifest(s.T, filepath.Join(s.directory, "manifest-cleanup.json"))
		if image := m.SourceAMIs[0]; image.AccountID != source || len(image.Volumes) != 2 {
			s.Errorf("got the source AMI %+v in the manifest of the clean-up", image)
		}
	})
}

// For existing AMIs, the run plans a second time after it has written its record. The output shows the plan once.
func TestScreen_existingAMIs(t *testing.T) {
	onStage(t, func(s *stage) {
		if _, err := s.after(s.Context(), nullBuilder, s.withExistingAMI(prod)); err != nil {
			s.Fatal(err)
		}
		for _, line := range []string{"Reading snapshots", "Plan:", "Checking permissions"} {
			if n := strings.Count(s.screen.String(), line); n != 1 {
				s.Errorf("got %q %d times, want once:\n%s", line, n, s.screen)
			}
		}
	})
}

// The output has one line for each resource that the run leaves unchanged, so that a user need not open the report.
// Other notes are only in the plan and the report.
func TestScreen_notes(t *testing.T) {
	ui := new(screen)
	at := distribution.Location{Account: prod, Region: tokyo}
	note := func(code, summary, detail string) distribution.Finding {
		return distribution.Finding{Level: distribution.Note, Code: code, Location: at, Summary: summary, Detail: detail}
	}
	r := run{PostProcessor: new(PostProcessor), ui: ui, progress: newProgress(ui)}
	r.plan.Findings = []distribution.Finding{
		note(distribution.CodeSharedKeyAccess, "who launches the shared image needs access to its key", ""),
		note(
			distribution.CodeShareKept,
			"ami-0a stays shared with 888888888888",
			"a share block of an earlier run shared it",
		),
	}
	var result distribution.Result
	for i := range 10 {
		summary := fmt.Sprintf("the older release ami-0%d stays", i)
		result.Findings = append(result.Findings, note(distribution.CodeReleaseKept, summary, "it is in use"))
	}
	r.printResult(result)
	r.printResult(result)
	want := "Note: 999999999999 in ap-northeast-1: ami-0a stays shared with 888888888888: " +
		"a share block of an earlier run shared it\n"
	for i := range 9 {
		want += fmt.Sprintf("Note: 999999999999 in ap-northeast-1: the older release ami-0%d stays: it is in use\n", i)
	}
	want += "1 more note\nNothing is left behind\nNothing is left behind\n"
	if got := regexp.MustCompile(` \(checked in .*\)`).ReplaceAllString(ui.String(), ""); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// screenOptions returns options whose files are named on the screen.
func (s *stage) screenOptions(accounts ...string) map[string]any {
	o := s.options(accounts...)
	s.directory = s.withFiles(o)
	return o
}

func (s *stage) planOptions(accounts ...string) map[string]any {
	o := s.only(accounts...)
	s.directory = s.withFiles(o)
	return o
}

func (s *stage) verifying(accounts ...string) map[string]any {
	o := s.options(accounts...)
	o["mode"], o["existing_amis"] = "verify", map[string]any{tokyo: s.image}
	return o
}

func (s *stage) cleaning(accounts ...string) map[string]any {
	o := s.options(accounts...)
	o["mode"], o["existing_amis"] = "cleanup", map[string]any{tokyo: s.image}
	return o
}

// sampleSteps returns a plan that stages one snapshot and copies it to a number of destinations.
func sampleSteps(destinations int) plan.Plan {
	p := reporttest.Plan()
	staged := p.Steps[0].(*step.CopySnapshot)
	p.Steps, p.Destinations = []step.Step{staged}, nil
	for i := range destinations {
		at := distribution.Location{Account: fmt.Sprintf("%012d", 222222222222+i), Region: tokyo}
		p.Destinations = append(p.Destinations, plan.DestinationPlan{At: at, Target: "prod"})
		p.Steps = append(p.Steps, &step.CopySnapshot{
			Base:       step.Base{ID: step.NewID("copy", at.Account), Location: at, Destination: at},
			Source:     step.Ref{From: staged.ID},
			FromRegion: tokyo,
			Device:     "/dev/xvda",
			GiB:        20,
		})
	}
	return p
}

// play sends events of a plan: every copy starts, reaches 60 % after four minutes and completes, the last one fails.
func play(p *progress, steps plan.Plan) {
	p.follow(steps)
	p.startHeartbeat(time.Now().Add(time.Hour))
	at := func(s step.Step, kind distribution.EventKind, percent int) distribution.Event {
		e := distribution.Event{
			Time:    time.Now(),
			Kind:    kind,
			Step:    s.Meta().ID,
			At:      s.Meta().Location,
			Percent: percent,
			Text:    s.String(),
		}
		if kind == distribution.Finished {
			e.Resource = "snap-0123456789abcdef0"
		}
		if percent > 0 {
			e.ETA = time.Now().Add(time.Duration(100-percent)*4*time.Second + 3*time.Second)
		}
		return e
	}
	p.say(at(steps.Steps[0], distribution.Begun, -1))
	time.Sleep(3*time.Minute + 10*time.Second)
	p.say(at(steps.Steps[0], distribution.Finished, 100))
	for _, s := range steps.Steps[1:] {
		p.say(at(s, distribution.Begun, -1))
	}
	for _, percent := range []int{10, 26, 60, 77} {
		time.Sleep(57 * time.Second)
		for _, s := range steps.Steps[1:] {
			p.say(at(s, distribution.Progressed, percent))
		}
	}
	time.Sleep(2*time.Minute + time.Second)
	for i, s := range steps.Steps[1:] {
		d := distribution.DestinationResult{
			At:      s.Meta().Destination,
			State:   distribution.DestinationSucceeded,
			ImageID: "ami-0a",
		}
		if i == len(steps.Steps)-2 {
			e := at(s, distribution.Failed, -1)
			e.Text += ": Given key ID is not accessible"
			p.say(e)
			d.State = distribution.DestinationFailed
		} else {
			p.say(at(s, distribution.Finished, 100))
		}
		p.destination(d)
	}
	p.stop()
}

func TestProgress_copies(t *testing.T) {
	for destinations, file := range map[int]string{2: "screen-copies.golden", 21: "screen-21-destinations.golden"} {
		synctest.Test(t, func(t *testing.T) {
			ui := new(screen)
			play(newProgress(ui), sampleSteps(destinations))
			lines := slices.DeleteFunc(strings.SplitAfter(ui.String(), "\n"), func(line string) bool {
				return strings.HasPrefix(line, "machine: ")
			})
			golden.Equal(t, "testdata/"+file, withoutDrawnIDs(strings.Join(lines, "")))
		})
	}
}

// Heartbeats also report a wait that belongs to no step.
func TestHeartbeat_namesWhatIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ui := new(screen)
		p := newProgress(ui)
		p.startHeartbeat(time.Date(2026, 1, 2, 15, 4, 0, 0, time.UTC))
		p.begin("Reading snapshots, keys and settings in 3 accounts")
		time.Sleep(2*time.Minute + time.Second)
		p.Say("another line")
		time.Sleep(59 * time.Second)
		p.stop()
		time.Sleep(10 * time.Minute)
		const still = "Still reading snapshots, keys and settings in 3 accounts, until 15:04 UTC at the latest\n"
		want := "Reading snapshots, keys and settings in 3 accounts...\n" + still + still + "another line\n"
		if got := ui.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestFailure_lines(t *testing.T) {
	f := failure{
		headline: "12 of 20 destinations failed; ami-0a is kept and protected from deregistration",
		failed:   []string{"cause 1", "cause 2", "cause 3", "and 2 more causes, see above"},
		fix:      "see the next steps printed above (also in report.md)",
		resume:   []string{"packer build encrypted-ami/ami-0a/resume.pkr.hcl", "uses PKR_VAR_external_id"},
		giveUp:   "packer build -var mode=cleanup encrypted-ami/ami-0a/resume.pkr.hcl",
		report:   "encrypted-ami/ami-0a/report.html",
		note:     `"Error destroying builder artifact" below is expected`,
	}
	several := f.text()
	f.failed = f.failed[:1]
	for _, text := range []string{several, f.text()} {
		if n := strings.Count(text, "\n") + 1; n != errorLines {
			t.Errorf("got %d lines, want %d:\n%s", n, errorLines, text)
		}
	}
	golden.Equal(t, "testdata/failure.golden", f.text()+"\n\n"+several+"\n")
}

// A run cannot be resumed if its AMI is not protected. The error says so.
func TestExplain_stateOfTheAMI(t *testing.T) {
	var text strings.Builder
	two := []distribution.SourceImage{
		{Region: "ap-northeast-1", ImageID: "ami-0a"},
		{Region: "us-west-2", ImageID: "ami-0b"},
	}
	ours := []distribution.SourceImageResult{
		{Region: "ap-northeast-1", ImageID: "ami-0a", Protected: true},
		{Region: "us-west-2", ImageID: "ami-0b"},
	}
	failed := &outcomeError{"1 of 2 destinations failed"}
	for _, c := range []struct {
		title string
		err   error
		run   run
	}{
		{"protected by this run", failed, run{images: two, result: distribution.Result{Source: ours}}},
		{"not protected", failed, run{images: two[:1], unprotected: true}},
		{"existing AMIs", failed, run{images: two, userSupplied: true}},
		{"no plan", errors.New("the source credentials cannot be used: no"), run{images: two[:1], unprotected: true}},
		{"template", &configurationError{errors.New("region: unknown")}, run{images: two, userSupplied: true}},
		{"no image", errors.New("the artifact has no AMI"), run{}},
	} {
		c.run.PostProcessor = new(PostProcessor)
		fmt.Fprintf(&text, "# %s\n%s\n\n", c.title, c.run.explain(c.err))
	}
	golden.Equal(t, "testdata/explain.golden", text.String())
}

// A copy that is refused and retried is not in progress: heartbeats say why it is retried, and until when.
func TestHeartbeat_retriedCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ui, steps := new(screen), sampleSteps(2)
		p := newProgress(ui)
		p.follow(steps)
		p.startHeartbeat(time.Now().Add(time.Hour))
		for _, s := range steps.Steps[1:] {
			p.say(distribution.Event{Time: time.Now(), Kind: distribution.Begun, Step: s.Meta().ID, At: s.Meta().Location})
		}
		retry := func(s step.Step) {
			p.say(distribution.Event{
				Time: time.Now(),
				Kind: distribution.Retrying,
				Step: s.Meta().ID,
				Text: "Given key ID is not accessible",
				ETA:  time.Now().Add(7 * time.Minute),
			})
		}
		retry(steps.Steps[1])
		time.Sleep(61 * time.Second)
		retry(steps.Steps[2])
		time.Sleep(6*time.Minute + 30*time.Second) // Ends between two heartbeats.
		p.stop()
		for part, want := range map[string]int{
			"Still copying 1 snapshot to 222222222223 (prod) in ap-northeast-1: 0% of 20 GiB, until 01:00 UTC at the latest; " +
				"retrying 1 call\n": 1,
			"Still waiting for 222222222222 (prod) in ap-northeast-1: Given key ID is not accessible, " +
				"retrying until 00:07 UTC\n": 5,
			"Still waiting for 222222222222 (prod) in ap-northeast-1: Given key ID is not accessible, " +
				"last attempt since 00:07 UTC\n": 1,
		} {
			if got := strings.Count(ui.String(), part); got != want {
				t.Errorf("got %d times %q, want %d, in\n%s", got, part, want, ui)
			}
		}
	})
}

// The output reports a refusal of KMS that is retried for minutes.
func TestProgress_retry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ui, steps := new(screen), sampleSteps(1)
		p := newProgress(ui)
		p.follow(steps)
		p.startHeartbeat(time.Date(2026, 1, 2, 15, 4, 0, 0, time.UTC))
		copied := steps.Steps[1]
		copied.(*step.CopySnapshot).Trial = true
		p.follow(steps)
		e := distribution.Event{
			Time: time.Now(),
			Kind: distribution.Begun,
			Step: copied.Meta().ID,
			At:   copied.Meta().Location,
		}
		p.say(e)
		e.Kind, e.Text, e.ETA = distribution.Retrying, "Given key ID is not accessible", time.Now().Add(7*time.Minute)
		p.say(e)
		time.Sleep(2*time.Minute + time.Second)
		p.stop()
		text := regexp.MustCompile(`(?m)^machine: .*\n`).ReplaceAllString(ui.String(), "")
		golden.Equal(t, "testdata/screen-retry.golden", text)
	})
}

// The machine-readable lines are public, so their fields keep the documented order.
func TestMachine_events(t *testing.T) {
	onStage(t, func(s *stage) {
		s.setTargetActions(other, `["ec2:*","kms:DescribeKey"]`)
		if _, err := s.run(s.Context(), s.screenOptions(prod, other)); err == nil {
			s.Fatal("got no error")
		}
		image := s.images(prod)[0]
		for _, want := range []string{
			"run_started,distribute," + s.image + ",2",
			"step_started,CopySnapshot," + source + "," + tokyo + ",",
			"step_completed,RegisterImage," + prod + "," + tokyo + "," + *image.ImageId,
			"destination_completed," + prod + "," + tokyo + ",to " + prod + "," + *image.ImageId,
			"destination_failed," + other + "," + tokyo + ",to " + other + ",",
			"finding,error,kms_create_grant_denied," + other + "," + tokyo + ",role golden-image-target may not " +
				"kms:CreateGrant on ",
			"file,resume," + s.directory,
			"file,manifest," + s.directory,
			"run_failed,1,1,0",
		} {
			if !s.mentions("machine: encrypted-ami,"+want, nil) {
				s.Errorf("got no line %q", want)
			}
		}
	})
}

// All errors of a template are reported at once, each with its option and value.
func TestConfigure_errors(t *testing.T) {
	err := new(PostProcessor).Configure(map[string]any{
		"mode": "distribut",
		"target": []any{map[string]any{
			"name":        "prod",
			"account_ids": []any{"12345678901"},
			"kms_key_id":  "golden-target",
		}},
	})
	if err == nil {
		t.Fatal("got no error")
	}
	golden.Equal(t, "testdata/screen-configuration-error.golden", err.Error()+"\n")
}

// oldWords matches words that only this project used. AWS and Packer have others for the same. make words finds more.
var oldWords = regexp.MustCompile(
	`(?i)\b(refusals?|served|canary|canaries|seals?|sealed|redo|hand(ed)? on|left out|provably)\b`,
)

func TestScreen_words(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(paths) < 10 {
		t.Fatalf("got the files %v, %v", paths, err)
	}
	for _, path := range append(
		paths,
		"../../internal/report/testdata/report.html.golden",
		"../../internal/report/testdata/report.md.golden",
	) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if found := oldWords.FindAllString(string(text), -1); found != nil {
			t.Errorf("%s: got the words %q", path, found)
		}
	}
}
