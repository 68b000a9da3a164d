// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package chaos_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// prepare adds the second release, the resources of other teams in the targets, and existing permissions. Then it
// enables the faults.
func prepare(w *fixture.World, s *scenario) *auditor {
	w.Helper()
	images := []string{w.ImageID}
	if s.releases == 2 {
		images = append(images, w.Build())
	}
	for _, account := range w.Targets {
		addForeignResources(w, account)
	}
	if s.permitted {
		for _, image := range images {
			permit(w, image, fixture.Prod)
		}
	}
	time.Sleep(time.Hour)

	a := newAuditor(w, images)
	awssim.WithRecorder(a.seeCall)(w.World)
	awssim.WithChaos(s.share, s.faults...)(w.World)
	if s.tagging > 0 {
		awssim.WithTagger(fixture.Prod, s.tagging)(w.World)
	}
	return a
}

// addForeignResources creates snapshots, a volume, an image and a launch template that belong to other teams.
func addForeignResources(w *fixture.World, account string) {
	w.Helper()
	backups := w.Backups(account, 2)
	client := w.EC2(account, fixture.Home)
	_, err := client.CreateVolume(w.Context(), &ec2.CreateVolumeInput{
		AvailabilityZone: aws.String(fixture.Home + "a"), SnapshotId: &backups[0],
	})
	require(w, err)
	_, err = client.RegisterImage(w.Context(), &ec2.RegisterImageInput{
		Name:           aws.String("of another team"),
		RootDeviceName: aws.String("/dev/xvda"),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{
			{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{SnapshotId: &backups[1]}},
		},
	})
	require(w, err)
	for _, region := range w.AllRegions() {
		_, err := w.EC2(account, region).CreateLaunchTemplate(w.Context(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String(launchTemplateName),
			LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: ec2types.InstanceTypeT4gMicro},
		})
		require(w, err)
	}
}

// permit lets an account create volumes of an image's snapshots.
func permit(w *fixture.World, image, account string) {
	w.Helper()
	for _, found := range w.Images(fixture.Source, fixture.Home) {
		if *found.ImageId != image {
			continue
		}
		for _, snapshot := range fixture.SnapshotsOf(found) {
			_, err := w.EC2(fixture.Source, fixture.Home).ModifySnapshotAttribute(w.Context(), &ec2.ModifySnapshotAttributeInput{
				SnapshotId: &snapshot,
				CreateVolumePermission: &ec2types.CreateVolumePermissionModifications{
					Add: []ec2types.CreateVolumePermission{{UserId: &account}},
				},
			})
			if err != nil && !strings.Contains(err.Error(), "EBS default key cannot be shared") {
				w.Fatal(err)
			}
		}
	}
}

func require(w *fixture.World, err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// runAll runs all templates concurrently, and the attempts of each template in sequence.
func (s *scenario) runAll(w *fixture.World, a *auditor) {
	w.Helper()
	var templates sync.WaitGroup
	for _, attempts := range s.templates {
		templates.Go(func() {
			for _, attempt := range attempts {
				time.Sleep(attempt.after)
				log := a.start(w, attempt, fixture.Attempt{Template: attempt.template(w), Existing: attempt.existing})
				if attempt.cancel > 0 {
					time.AfterFunc(attempt.cancel, log.run.Cancel)
				}
				if !log.run.EndsWithin(14 * 24 * time.Hour) {
					w.Errorf("run %d has not ended after two weeks", log.number)
					return
				}
				if text := log.run.Text(); strings.Contains(text, "the plugin failed, please report it") {
					w.Errorf("run %d panicked:\n%s", log.number, text)
				}
			}
		})
	}
	templates.Wait()
}

// cleanUp runs a clean-up for each source image, with all accounts and Regions and without faults.
func (s *scenario) cleanUp(w *fixture.World, a *auditor) (runs []*fixture.Run) {
	w.Helper()
	for release := range a.images {
		template := w.Template(fixture.WithCleanUp())
		if s.setup.OwnKeyOnly {
			fixture.WithGrants()(template)
		}
		log := a.start(w, attempt{release: release, existing: true}, fixture.Attempt{Template: template, Existing: true})
		w.ExpectSuccess(log.run.Wait())
		runs = append(runs, log.run)
	}
	return runs
}

// start starts an attempt with its own client, by which the auditor recognizes its calls.
func (a *auditor) start(w *fixture.World, drawn attempt, started fixture.Attempt) *attemptLog {
	w.Helper()
	log := &attemptLog{attempt: drawn, image: a.images[drawn.release], reads: map[string]time.Time{}}
	client := w.NewCrashingClient(drawn.killAt, drawn.loseAnswer, func(error) { log.run.Kill() })
	started.Through = func(aws.HTTPClient) aws.HTTPClient { return timed{a, log, client} }
	started.Pause = func(call fixture.Call) time.Duration { a.seeSigned(log, call); return 0 }

	a.starting.Lock()
	defer a.starting.Unlock()
	a.register(client, log)
	w.ImageID = log.image
	log.run = w.Start(started)
	return log
}

// timed records when calls are in progress, because a run is idle while its process is suspended.
type timed struct {
	auditor *auditor
	log     *attemptLog
	client  *awssim.CrashingClient
}

func (t timed) Do(r *http.Request) (*http.Response, error) {
	ended := t.auditor.beginCall(t.log)
	defer ended()
	return t.client.Do(r)
}

// span is a time in which a call was in progress. Its end is zero until the call has returned.
type span struct{ start, end time.Time }

// longCall is longer than any call of a client without a pause.
const longCall = time.Minute

func (a *auditor) beginCall(log *attemptLog) (ended func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &span{start: time.Now()}
	log.calls = append(log.calls, s)
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		s.end = time.Now()
		log.calls = slices.DeleteFunc(
			log.calls,
			func(s *span) bool { return !s.end.IsZero() && s.end.Sub(s.start) < longCall },
		)
	}
}

// awakeBetween returns how long the run was certainly not paused between two times.
func (log *attemptLog) awakeBetween(since, until time.Time) time.Duration {
	var awake time.Duration
	from := since
	slices.SortFunc(log.calls, func(a, b *span) int { return a.start.Compare(b.start) })
	for _, s := range log.calls {
		end := s.end
		if end.IsZero() {
			end = until
		}
		if end.Sub(s.start) < longCall || end.Before(from) || s.start.After(until) {
			continue
		}
		if s.start.After(from) {
			awake += s.start.Sub(from)
		}
		from = end
	}
	return awake + max(until.Sub(from), 0)
}
