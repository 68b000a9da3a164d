// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/runrecord"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/awsenv"
)

const (
	owner = "111111111111"
	home  = "ap-northeast-1"
)

func TestMain(m *testing.M) { awsenv.Main(m) }

// world is a simulated AWS with a source image and a volume to tag: tagging it stands for any mutating call.
type world struct {
	*awssim.World
	image, volume string
}

func newWorld(t *testing.T, options ...awssim.Option) *world {
	t.Helper()
	w := &world{World: awssim.New(options...)}
	err := w.Build(func(b *awssim.Builder) error {
		client := ec2.NewFromConfig(b.Config(owner, home))
		volume, err := client.CreateVolume(
			t.Context(),
			&ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1)},
		)
		if err != nil {
			return err
		}
		b.Wait(time.Minute)
		snapshot, err := client.CreateSnapshot(t.Context(), &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
		if err != nil {
			return err
		}
		b.Wait(time.Hour)
		image, err := client.RegisterImage(t.Context(), &ec2.RegisterImageInput{
			Name:               aws.String("golden"),
			Architecture:       types.ArchitectureValuesX8664,
			VirtualizationType: aws.String("hvm"),
			RootDeviceName:     aws.String("/dev/xvda"),
			BlockDeviceMappings: []types.BlockDeviceMapping{
				{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{SnapshotId: snapshot.SnapshotId}},
			},
		})
		if err != nil {
			return err
		}
		w.image, w.volume = *image.ImageId, *volume.VolumeId
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// process is one run with its own connection and clock.
type process struct {
	*runrecord.Run
	world  *world
	store  runrecord.TagStore
	line   *line
	report func(string)
}

// line is a connection that can be cut, that can delay a signed request, or that can return old tags.
type line struct {
	world *awssim.World
	mu    sync.Mutex
	cut   bool
	delay time.Duration // of the next request
	stale bool
	tags  []byte // the first response to DescribeTags, which line repeats
}

func (l *line) Do(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	cut, delay := l.cut, time.Duration(0)
	if l.delay > 0 && r.Body != nil {
		delay, l.delay = l.delay, 0
	}
	l.mu.Unlock()
	if cut {
		return nil, errors.New("connection refused")
	}
	time.Sleep(delay)
	r = r.WithContext(context.WithoutCancel(r.Context())) // a sent request reaches AWS even if its caller gives up
	if !l.stale {
		return l.world.Do(r)
	}
	return l.doStale(r)
}

func (l *line) doStale(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	response, err := l.world.Do(r)
	if err != nil || !bytes.Contains(body, []byte("Action=DescribeTags&")) {
		return response, err
	}
	if l.tags == nil {
		if l.tags, err = io.ReadAll(response.Body); err != nil {
			return nil, err
		}
	}
	response.Body = io.NopCloser(bytes.NewReader(l.tags))
	return response, nil
}

func (l *line) set(change func(*line)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (w *world) start(t *testing.T) *process {
	t.Helper()
	clock := &runrecord.Clock{}
	p := &process{Run: runrecord.New(clock), world: w, line: &line{world: w.World}, report: func(string) {}}
	// The builder's config has access keys of the account's root user, and the pool uses them.
	credentials, err := w.Config(owner, home).Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := awsclient.New(t.Context(), awsclient.Access{
		Region:     home,
		AccessKey:  credentials.AccessKeyID,
		SecretKey:  distribution.Secret(credentials.SecretAccessKey),
		HTTPClient: p.line,
		Seed:       1,
		Guard:      awsclient.Guard{Fence: p.Check, Observe: clock.Observe},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.store = runrecord.TagStore{Client: pool.EC2(distribution.Location{Account: owner, Region: home}), ImageID: w.image}
	return p
}

func (p *process) begin(t *testing.T, change ...func(*runrecord.Options)) context.Context {
	t.Helper()
	options := runrecord.Options{
		Stores:     []runrecord.Store{p.store},
		Regions:    []string{home},
		Protection: runrecord.ProtectionHeld,
		Report:     p.report,
	}
	for _, c := range change {
		c(&options)
	}
	ctx, err := p.Begin(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func (p *process) end(t *testing.T, failed bool) runrecord.Records {
	t.Helper()
	records, err := p.End(t.Context(), failed)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// mutate makes a mutating call that needs a record: it concerns neither protection, nor signing keys, nor records.
func (p *process) mutate(ctx context.Context) error {
	_, err := p.store.Client.CreateTags(ctx, &ec2.CreateTagsInput{
		Resources: []string{p.world.volume},
		Tags:      []types.Tag{{Key: aws.String("by"), Value: &p.ID}},
	})
	return err
}

func (w *world) recordTags(t *testing.T) map[string]string {
	t.Helper()
	store := runrecord.TagStore{Client: ec2.NewFromConfig(w.Config(owner, home)), ImageID: w.image}
	tags, err := store.Tags(t.Context())
	if awsclient.IsExpired(err) { // the SDK has learned AWS's time from the refusal (rule 5.12)
		tags, err = store.Tags(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(tags, func(key, _ string) bool { _, ok := provenance.ParseRecordKey(key); return !ok })
	return tags
}

func inBubble(t *testing.T, options []awssim.Option, do func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { do(t, newWorld(t, options...)) })
}

// A run has a record while it is active, renews it, and deletes it at its end, even if the local clock is wrong.
func TestRun_alone(t *testing.T) {
	for _, skew := range []time.Duration{
		0,
		14 * time.Minute,
		-14 * time.Minute,
		40 * 24 * time.Hour,
		-40 * 24 * time.Hour,
	} {
		t.Run(skew.String(), func(t *testing.T) {
			inBubble(t, []awssim.Option{awssim.WithClientSkew(skew)}, func(t *testing.T, w *world) {
				p := w.start(t)
				if err := p.mutate(t.Context()); !errors.Is(err, runrecord.ErrNoRecord) {
					t.Errorf("before the record: got %v, want %v", err, runrecord.ErrNoRecord)
				}
				ctx := p.begin(t)
				for range 20 {
					if err := p.mutate(ctx); err != nil {
						t.Fatal(err)
					}
					checkRecord(t, w, p.ID)
					time.Sleep(7 * time.Minute)
				}
				if others := p.end(t, false).Working(); len(others) > 0 {
					t.Errorf("got %d working runs, want none", len(others))
				}
				if err := p.mutate(ctx); err != nil {
					t.Errorf("clean-up after the end: got %v", err)
				}
				if err := p.Clear(t.Context()); err != nil {
					t.Fatal(err)
				}
				if tags := w.recordTags(t); len(tags) > 0 {
					t.Errorf("got tags %v after the end, want none", tags)
				}
			})
		})
	}
}

// checkRecord checks that a record lapses between 39 and 45 minutes ahead of AWS's time.
func checkRecord(t *testing.T, w *world, id string) {
	t.Helper()
	value := w.recordTags(t)[provenance.RecordKey(id)]
	_, rest, _ := strings.Cut(value, "until=")
	text, _, _ := strings.Cut(rest, " ")
	until, err := time.Parse(time.RFC3339, text)
	if err != nil || !strings.HasPrefix(value, "working ") {
		t.Fatalf("got record %q", value)
	}
	if ahead := until.Sub(w.Now()); ahead < 39*time.Minute || ahead > 45*time.Minute {
		t.Errorf("the record lapses %v ahead of AWS's time", ahead)
	}
}

// Two runs that begin at the same time see each other's record within a minute. Neither deletes the other's.
func TestBegin_twoAtOnce(t *testing.T) {
	for seed := range uint64(20) {
		inBubble(t, []awssim.Option{awssim.WithSeed(seed)}, beginTwoAtOnce)
	}
}

func beginTwoAtOnce(t *testing.T, w *world) {
	a, b := w.start(t), w.start(t)
	began := time.Now()
	var both sync.WaitGroup
	for _, p := range []*process{a, b} {
		both.Go(func() { p.begin(t) })
	}
	both.Wait()
	if waited := time.Since(began); waited > time.Minute {
		t.Errorf("they waited %v", waited)
	}
	records := a.end(t, false)
	if working := records.Working(); len(working) != 1 || working[0].ID != b.ID {
		t.Errorf("got working %v, want %s", working, b.ID)
	}
	if err := a.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkRecord(t, w, b.ID)
	if working := b.end(t, false).Working(); len(working) > 0 {
		t.Errorf("got working %v, want none", working)
	}
}

// A run waits until another active run has renewed its record, and then continues beside it. While it waits, it reports
// what it waits for.
func TestBegin_besideWorkingRun(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		a, b := w.start(t), w.start(t)
		a.begin(t)
		time.Sleep(time.Hour)
		var said []string
		b.report = func(text string) { said = append(said, text) }
		began := time.Now()
		b.begin(t)
		if waited := time.Since(began); waited > 6*time.Minute {
			t.Errorf("it waited %v", waited)
		}
		if len(said) != 1 || !strings.Contains(said[0], a.ID) {
			t.Errorf("got reports %q, want one that names %s", said, a.ID)
		}
		records, err := b.Records(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if records.IsOver(a.ID, time.Time{}) {
			t.Error("the run that works is taken for over")
		}
		a.end(t, false)
		b.end(t, false)
	})
}

// A run replaces a crashed run, but only after the record of that run has lapsed and no call that it signed can take
// effect.
func TestBegin_afterDeadRun(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		a, b := w.start(t), w.start(t)
		a.begin(t)
		a.Kill()
		began := time.Now()
		b.begin(t)
		if waited := time.Since(began); waited < 50*time.Minute || waited > 51*time.Minute {
			t.Errorf("it waited %v, want 50 minutes", waited)
		}
		records, err := b.Records(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !records.IsOver(a.ID, time.Time{}) {
			t.Error("the dead run is not over")
		}
		if err := a.mutate(t.Context()); !errors.Is(err, runrecord.ErrLapsed) {
			t.Errorf("the dead run comes back: got %v, want %v", err, runrecord.ErrLapsed)
		}
		b.end(t, false)
	})
}

// A resumed run does not wait, because the record of the run that it resumes counts as ended.
func TestBegin_resumes(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		a, b := w.start(t), w.start(t)
		a.begin(t)
		a.Kill()
		began := time.Now()
		b.begin(t, func(o *runrecord.Options) { o.Resumes = a.ID })
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("it waited %v", waited)
		}
		b.end(t, false)
		if err := b.Clear(t.Context()); err != nil {
			t.Fatal(err)
		}
		if tags := w.recordTags(t); len(tags) > 0 {
			t.Errorf("got tags %v, want none", tags)
		}
	})
}

// The record of a failed run keeps the protection of the source image until that run is resumed. No other run may
// disable the protection or delete the record.
func TestEnd_failedRunHoldsProtection(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		a, b, c := w.start(t), w.start(t), w.start(t)
		a.begin(t)
		a.end(t, true)

		b.begin(t)
		if !b.end(t, false).OtherHoldsProtection() {
			t.Error("the failed run does not hold the protection")
		}
		if err := b.Clear(t.Context()); err != nil {
			t.Fatal(err)
		}
		if tags := w.recordTags(t); len(tags) != 1 || tags[provenance.RecordKey(a.ID)] == "" {
			t.Errorf("got tags %v, want the failed run's", tags)
		}

		c.begin(t, func(o *runrecord.Options) { o.Resumes = a.ID })
		if c.end(t, false).OtherHoldsProtection() {
			t.Error("the resumed run holds the protection against the run that resumes it")
		}
	})
}

// After a pause, a run either continues, or its context ends and it sends no further calls.
func TestFence_pauses(t *testing.T) {
	for _, c := range []struct {
		pause  time.Duration
		lapsed bool
	}{
		{28 * time.Minute, false},
		{30 * time.Minute, true},
		{3 * time.Hour, true},
	} {
		t.Run(c.pause.String(), func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				p := w.start(t)
				ctx := p.begin(t)
				p.line.set(func(l *line) { l.cut = true })
				time.Sleep(c.pause)
				p.line.set(func(l *line) { l.cut = false })
				err := p.mutate(t.Context())
				if errors.Is(err, runrecord.ErrLapsed) != c.lapsed || (err == nil) == c.lapsed {
					t.Errorf("got %v, want lapsed %t", err, c.lapsed)
				}
				time.Sleep(6 * time.Minute)
				if got := errors.Is(context.Cause(ctx), runrecord.ErrLapsed); got != c.lapsed {
					t.Errorf("the context ended with %v, want lapsed %t", context.Cause(ctx), c.lapsed)
				}
				p.end(t, true)
			})
		})
	}
}

// A request is signed while the record of its run is valid, and then delayed. AWS refuses its signature after 15
// minutes, so the request has no effect after the record lapses.
func TestFence_pauseBeforeSending(t *testing.T) {
	for _, delay := range []time.Duration{14 * time.Minute, 16 * time.Minute, 3 * time.Hour} {
		t.Run(delay.String(), func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				p := w.start(t)
				p.begin(t)
				p.Kill()
				time.Sleep(28*time.Minute + 30*time.Second) // 30 seconds before Check refuses mutating calls
				p.line.set(func(l *line) { l.delay = delay })
				err := p.mutate(t.Context())
				var effects []time.Time
				for _, r := range w.Records().Mutating() {
					if slices.Contains(r.Changed, w.volume) {
						effects = append(effects, r.At)
					}
				}
				switch {
				case delay < 15*time.Minute && (err != nil || len(effects) != 1):
					t.Errorf("got %v and %d effects, want 1", err, len(effects))
				case delay > 15*time.Minute && (err == nil || len(effects) > 0):
					t.Errorf("got %v and %d effects, want none", err, len(effects))
				}
			})
		})
	}
}

// A late renewal must not restore a record that other runs may have seen as lapsed.
func TestRenewal_afterLapse(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		p := w.start(t)
		p.begin(t)
		before := w.recordTags(t)
		p.line.set(func(l *line) { l.delay = 3 * time.Hour })
		time.Sleep(4 * time.Hour)
		if after := w.recordTags(t); !maps.Equal(before, after) {
			t.Errorf("got record %v, want %v unchanged", after, before)
		}
		p.end(t, true)
		for _, value := range w.recordTags(t) {
			if !strings.HasPrefix(value, "ended ") {
				t.Errorf("got record %q, want it ended", value)
			}
		}
	})
}

// A record that changed after it was read is not deleted.
func TestDelete_changedRecord(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		p := w.start(t)
		p.begin(t)
		old, err := p.store.List(t.Context())
		if err != nil || len(old) != 1 {
			t.Fatalf("got %v, %v", old, err)
		}
		time.Sleep(6 * time.Minute)
		if err := p.store.Delete(t.Context(), old[0]); err != nil {
			t.Fatal(err)
		}
		checkRecord(t, w, p.ID)
		p.end(t, false)
	})
}

func TestEnsureSigningKey_twoAtOnce(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		release := w.Now()
		var both sync.WaitGroup
		var found [2]provenance.SigningKeys
		for i := range found {
			both.Go(func() {
				keys, err := w.start(t).store.EnsureSigningKey(t.Context(), release)
				if err != nil {
					t.Error(err)
				}
				found[i] = keys
			})
		}
		both.Wait()
		a, _ := found[0].Signer()
		b, _ := found[1].Signer()
		if a != b || a.ID == "" {
			t.Errorf("got signers %q and %q", a.ID, b.ID)
		}
		again, err := w.start(t).store.EnsureSigningKey(t.Context(), release.Add(time.Hour))
		if err != nil || len(again) != len(found[0]) || !again.Release().Equal(release.Truncate(time.Second)) {
			t.Errorf("got %d keys with release %v, %v, want those that are there", len(again), again.Release(), err)
		}
	})
}

// A read may miss the signing key that was just written. The run must use that key all the same.
func TestEnsureSigningKey_staleRead(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, w *world) {
		p := w.start(t)
		p.line.stale = true
		keys, err := p.store.EnsureSigningKey(t.Context(), w.Now())
		if _, ok := keys.Signer(); err != nil || !ok {
			t.Errorf("got %d keys, %v", len(keys), err)
		}
	})
}

// Lost responses and throttled calls lose neither a record nor a renewal.
func TestRun_faults(t *testing.T) {
	for _, fault := range []awssim.Fault{
		awssim.Throttled,
		awssim.ServerError,
		awssim.ConnectionReset,
		awssim.LostResponse,
		awssim.LateError,
		awssim.TruncatedResponse,
	} {
		t.Run(string(fault), func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, w *world) {
				for nth := 1; nth < 8; nth += 2 {
					w.Inject(awssim.FaultRule{Fault: fault, Action: "ec2:*", Nth: nth})
				}
				p := w.start(t)
				ctx := p.begin(t)
				time.Sleep(2 * time.Hour)
				checkRecord(t, w, p.ID)
				if ctx.Err() != nil {
					t.Errorf("the run ended: %v", context.Cause(ctx))
				}
				p.end(t, false)
			})
		})
	}
}
