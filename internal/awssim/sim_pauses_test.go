// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// newCrashingClient returns a CrashingClient and an EC2 client that uses it, without retries.
func (f fixture) newCrashingClient(calls int) (*CrashingClient, *ec2.Client) {
	line := f.world.NewCrashingClient(calls, false, nil)
	config := f.world.Config(owner, home)
	config.HTTPClient = line
	return line, ec2.NewFromConfig(config, withoutEC2Retries)
}

// TestPauseBeforeSend_signatureExpires covers rule 5.11. A request that is sent late is refused if its signature is too
// old.
func TestPauseBeforeSend_signatureExpires(t *testing.T) {
	for pause, code := range map[time.Duration]string{14 * time.Minute: "", 16 * time.Minute: "RequestExpired"} {
		t.Run(pause.String(), func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				volume := f.createVolume("")
				_, client := f.newCrashingClient(0)
				f.world.Inject(FaultRule{
					Fault:  PauseBeforeSend,
					Action: "ec2:CreateTags",
					Nth:    1,
					Delay:  pause,
				})

				began := time.Now()
				time.AfterFunc(pause-time.Minute, func() { expectEqual(f, "the tag during the pause", f.tagValue(volume), "") })
				err := f.setTag(client, volume, "v")
				if took := time.Since(began); took < pause || took > pause+time.Minute {
					t.Errorf("the call took %s", took)
				}

				if code != "" {
					requireErrorCode(f, err, code)
					return
				}

				requireNoError(0, err)(f)
				expectEqual(f, "the tag", f.tagValue(volume), "v")
				last := f.world.Records().Calls("ec2:CreateTags")
				expectEqual(f, "the records", len(last), 1)
				expectEqual(f, "the recorded fault", last[0].Fault, PauseBeforeSend)
				expectEqual(f, "the pauses counted", f.world.Counts().Pauses, 1)
			})
		})
	}
}

// TestPauseBeforeSend_clientDies shows that a client that crashes during the pause sends nothing.
func TestPauseBeforeSend_clientDies(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		volume := f.createVolume("")
		line, client := f.newCrashingClient(1)
		f.world.Inject(FaultRule{
			Fault:  PauseBeforeSend,
			Action: "ec2:CreateTags",
			Nth:    1,
			Delay:  10 * time.Minute,
		})

		time.AfterFunc(5*time.Minute, func() {
			line.mu.Lock()
			defer line.mu.Unlock()
			line.crashed = true
		})

		if err := f.setTag(client, volume, "v"); !errors.Is(err, ErrCrashed) {
			t.Errorf("the dead client saw %v", err)
		}

		expectEqual(f, "the tag", f.tagValue(volume), "")
	})
}

func TestPauseAfterAnswer_effectFirst(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		volume := f.createVolume("")
		_, client := f.newCrashingClient(0)
		f.world.Inject(FaultRule{
			Fault:  PauseAfterResponse,
			Action: "ec2:CreateTags",
			Nth:    1,
			Delay:  3 * time.Hour,
		})

		began := time.Now()
		time.AfterFunc(time.Minute, func() { expectEqual(f, "the tag during the pause", f.tagValue(volume), "v") })
		requireNoError(0, f.setTag(client, volume, "v"))(f)
		if took := time.Since(began); took < 3*time.Hour {
			t.Errorf("the call took %s", took)
		}
	})
}

// TestLateArrival_signatureExpires covers rule 5.11. A request may arrive after its client has seen the connection
// break, unless its signature is too old.
func TestLateArrival_signatureExpires(t *testing.T) {
	for delay, want := range map[time.Duration]string{14 * time.Minute: "late", 16 * time.Minute: "first"} {
		t.Run(delay.String(), func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				volume := f.createVolume("")
				line, client := f.newCrashingClient(0)
				var seen []Mutation
				f.world.OnMutation(func(m Mutation) { seen = append(seen, m) })
				requireNoError(0, f.setTag(client, volume, "first"))(f)
				f.world.Inject(FaultRule{
					Fault:  LateArrival,
					Action: "ec2:CreateTags",
					Nth:    1,
					Delay:  delay,
				})

				if err := f.setTag(client, volume, "late"); !errors.Is(err, errConnectionReset) {
					t.Errorf("the client saw %v", err)
				}

				expectEqual(f, "the tag at first", f.tagValue(volume), "first")
				time.Sleep(delay + time.Second)
				expectEqual(f, "the tag then", f.tagValue(volume), want)
				if last := seen[len(seen)-1]; want == "late" && (last.Fault != LateArrival || last.Client != line) {
					t.Errorf("seen as %s of %p", last.Fault, last.Client)
				}

				expectEqual(f, "the records", len(f.world.Records().Calls("ec2:CreateTags")), 3)
			})
		})
	}
}

// TestPauses_wholeClient shows that a pause stops the whole client in half of the cases.
func TestPauses_wholeClient(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		_, client := f.newCrashingClient(0)
		look := func() { // refused after a long pause, because of its old signature
			_, _ = client.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
		}

		stopped := 0
		const pauses = 40
		for range pauses {
			f.world.Inject(FaultRule{
				Fault:  PauseAfterResponse,
				Action: "ec2:DescribeRegions",
				Times:  1,
				Nth:    1,
				Delay:  time.Hour,
			})

			ended := make(chan struct{})
			go func() { look(); close(ended) }()
			time.Sleep(time.Minute)
			began := time.Now()
			look()
			if time.Since(began) > 30*time.Minute {
				stopped++
			}
			<-ended
			f.world.rules = nil
		}

		if stopped < pauses/4 || stopped > pauses*3/4 {
			t.Errorf("%d of %d pauses stopped the whole client", stopped, pauses)
		}

		expectEqual(f, "the pauses counted", f.world.Counts().Pauses, pauses)
	})
}

// TestPauses_drawn shows that random pauses last up to 3 hours, and that half of them end before a signature expires.
func TestPauses_drawn(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		c := &Call{
			Service:   "ec2",
			Operation: "CreateTags",
			Region:    home,
			caller:    f.world.rootCaller(f.world.account(owner, "aws")),
		}

		const drawn = 1000
		short, long := 0, 0
		for range drawn {
			switch pause := f.world.randomPause(c); {
			case pause < 0 || pause > maxPause:
				t.Fatalf("a pause of %s", pause)
			case pause < 15*time.Minute:
				short++
			case pause > time.Hour:
				long++
			}
		}

		if short < drawn/3 || long < drawn/4 {
			t.Errorf("%d short and %d long pauses of %d", short, long, drawn)
		}
	})
}

// TestPauses_seedRepeats shows that two runs of a seed are equal and end, with all faults together.
func TestPauses_seedRepeats(t *testing.T) {
	counts := func() (counts Counts) {
		runWithFixture(t, func(f fixture) {
			WithSeed(7)(f.world)
			WithChaos(0.5, Faults()...)(f.world)
			_, client := f.newCrashingClient(0)
			for range 100 {
				_, _ = client.DescribeRegions(context.Background(), &ec2.DescribeRegionsInput{})
			}
			counts = f.world.Counts()
		})
		return counts
	}

	first, second := counts(), counts()
	expectEqual(t, "the calls", second.Calls, first.Calls)
	expectEqual(t, "the pauses", second.Pauses, first.Pauses)
	for _, fault := range Faults() {
		expectEqual(t, "the calls with "+string(fault), second.Faults[fault], first.Faults[fault])
	}

	if first.Pauses == 0 {
		t.Error("nothing paused")
	}
}
