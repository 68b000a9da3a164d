// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// setTag sets a tag as a harmless call with an effect.
func (f fixture) setTag(client *ec2.Client, id, value string) error {
	_, err := client.CreateTags(f.Context(), &ec2.CreateTagsInput{
		Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("k"), Value: &value}},
	})
	return err
}

// tagValue returns the value that tag set.
func (f fixture) tagValue(id string) string {
	f.Helper()
	volume := requireOutput(f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{
		VolumeIds: []string{id},
	}))(f).Volumes[0]
	if len(volume.Tags) == 0 {
		return ""
	}
	return *volume.Tags[0].Value
}

func withoutEC2Retries(o *ec2.Options) { o.Retryer = aws.NopRetryer{} }

func TestInject_effectByFault(t *testing.T) {
	for fault, row := range map[Fault]struct {
		code   string // empty for no response
		effect bool
	}{
		Throttled:         {code: "RequestLimitExceeded"},
		ServerError:       {code: "InternalError"},
		Unavailable:       {code: "ServiceUnavailable"},
		ConnectionReset:   {},
		LostResponse:      {effect: true},
		LateError:         {code: "InternalError", effect: true},
		TruncatedResponse: {effect: true},
	} {
		t.Run(string(fault), func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				volume := f.createVolume("")
				client := ec2.NewFromConfig(f.world.Config(owner, home), withoutEC2Retries)
				f.world.Inject(FaultRule{
					Fault:    fault,
					Action:   "ec2:CreateTags",
					Account:  owner,
					Resource: volume,
					Nth:      3,
				})

				for n, value := range []string{"first", "second"} {
					if err := f.setTag(client, volume, value); err != nil {
						t.Fatalf("call %d: %v", n+1, err)
					}
				}

				err := f.setTag(client, volume, "third")
				switch {
				case err == nil:
					t.Fatal("the third call succeeded")
				case row.code != "":
					requireErrorCode(t, err, row.code)
				case !errors.Is(err, errConnectionReset) && !errors.Is(err, io.ErrUnexpectedEOF):
					t.Errorf("error %v", err)
				}

				want := "second"
				if row.effect {
					want = "third"
				}
				if got := f.tagValue(volume); got != want {
					t.Errorf("the tag is %q, want %q", got, want)
				}
				if err := f.setTag(client, volume, "fourth"); err != nil {
					t.Errorf("the fourth call: %v", err)
				}

				last := f.world.Records().Calls("ec2:CreateTags")
				if got := last[2]; got.Fault != fault || (len(got.Changed) > 0) != row.effect {
					t.Errorf("recorded as %+v", got)
				}
			})
		})
	}
}

func TestInject_accountAndRegion(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.world.Inject(FaultRule{Fault: Throttled, Account: member, Region: "eu-west-1"})
		look := func(account, region string) error {
			_, err := ec2.NewFromConfig(
				f.world.Config(account, region), withoutEC2Retries,
			).DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
			return err
		}

		for _, free := range [][2]string{{owner, "eu-west-1"}, {member, home}} {
			if err := look(free[0], free[1]); err != nil {
				t.Errorf("%v: %v", free, err)
			}
		}

		for range 2 {
			requireErrorCode(t, look(member, "eu-west-1"), "RequestLimitExceeded")
		}
	})
}

func TestInject_throttlingErrorPerService(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.world.Inject(FaultRule{Fault: Throttled})
		_, err := sts.NewFromConfig(f.world.Config(owner, home), func(o *sts.Options) {
			o.Retryer = aws.NopRetryer{}
		}).GetCallerIdentity(f.Context(), &sts.GetCallerIdentityInput{})
		requireErrorCode(t, err, "Throttling")
		_, err = f.ec2.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}, withoutEC2Retries)
		requireErrorCode(t, err, "RequestLimitExceeded")
	})
}

func TestWithChaos_share(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.world.chaos = chaos{0.3, []Fault{Throttled}}
		const calls = 1000
		failed := 0
		client := ec2.NewFromConfig(f.world.Config(owner, home), withoutEC2Retries)
		for range calls {
			time.Sleep(time.Second) // for the token bucket
			if _, err := client.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}); err != nil {
				failed++
			}
		}

		if failed < calls*25/100 || failed > calls*35/100 {
			t.Errorf("%d of %d calls were throttled, want 30 in a hundred", failed, calls)
		}
	})
}

func TestCrashingClient_crashesAfterCall(t *testing.T) {
	for name, lost := range map[string]bool{"answered": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				volume := f.createVolume("")
				run, cancel := context.WithCancelCause(f.Context())
				line := f.world.NewCrashingClient(2, lost, cancel)
				config := f.world.Config(owner, home)
				config.HTTPClient = line
				client := ec2.NewFromConfig(config, withoutEC2Retries)
				if err := f.setTag(client, volume, "first"); err != nil {
					t.Fatal(err)
				}
				if err := f.setTag(client, volume, "second"); lost != errors.Is(err, ErrCrashed) {
					t.Errorf("the last call: %v", err)
				}
				if !errors.Is(context.Cause(run), ErrCrashed) {
					t.Errorf("the run ended by %v", context.Cause(run))
				}
				if err := f.setTag(client, volume, "third"); !errors.Is(err, ErrCrashed) {
					t.Errorf("after the cut: %v", err)
				}
				if got := f.tagValue(volume); got != "second" || line.Calls() != 2 {
					t.Errorf("the tag is %q after %d calls", got, line.Calls())
				}
			})
		})
	}
}

func TestWithRecording_oneLinePerCall(t *testing.T) {
	var file bytes.Buffer
	w := New(WithRecording(&file), WithoutLatency())
	client := ec2.NewFromConfig(w.Config(owner, home), withoutEC2Retries)
	requireOutput(client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{
		GroupName: aws.String("web"), Description: aws.String("web"),
	}))(t)

	_, err := client.CreateSecurityGroup(t.Context(), &ec2.CreateSecurityGroupInput{
		GroupName: aws.String("web"), Description: aws.String("web"),
	})

	requireErrorCode(t, err, "InvalidGroup.Duplicate")
	var records Records
	for lines := bufio.NewScanner(&file); lines.Scan(); {
		var r Record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}

	if len(records) != 2 {
		t.Fatalf("%d records", len(records))
	}

	first, second := records[0], records[1]
	expectEqual(t, "the action", first.Action, "ec2:CreateSecurityGroup")
	expectEqual(t, "the account", first.Account, owner)
	expectEqual(t, "the principal", first.Principal, "arn:aws:iam::111111111111:root")
	expectEqual(t, "the Region", first.Region, home)
	expectEqual(t, "the status", first.Status, 200)
	expectEqual(t, "the error", first.Error, "")
	expectEqual(t, "the number of changes", len(first.Changed), 1)

	expectEqual(t, "the status of the second call", second.Status, 400)
	expectEqual(t, "its error", second.Error, "InvalidGroup.Duplicate")
	expectEqual(t, "its number of changes", len(second.Changed), 0)
	expectEqual(t, "its digest", second.RequestDigest, first.RequestDigest)

	if got := len(records.Mutating()); got != 1 {
		t.Errorf("%d calls changed something", got)
	}
}

func TestClock_scaled(t *testing.T) {
	runWithFixture(t, func(fixture) {
		clock := StartClock(60)
		began := time.Now()
		time.Sleep(time.Minute)
		if got := clock.Now().Sub(began); got != time.Hour {
			t.Errorf("after a minute the clock shows %s", got)
		}
		if got := clock.RealTime(began.Add(time.Hour)); !got.Equal(began.Add(time.Minute)) {
			t.Errorf("an hour of the clock is %s", got.Sub(began))
		}
	})
}

func TestBuild_takesNoTime(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		before := time.Now()
		var volume string
		err := f.world.Build(func(builder *Builder) error {
			created, err := ec2.NewFromConfig(builder.Config(owner, home)).CreateVolume(
				f.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1)},
			)
			if err != nil {
				return err
			}
			volume = *created.VolumeId
			builder.Wait(time.Hour)
			return nil
		})
		if err != nil || !time.Now().Equal(before) {
			t.Errorf("building took %s: %v", time.Since(before), err)
		}

		state := requireOutput(f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{
			VolumeIds: []string{volume},
		}))(f).Volumes[0].State
		if state != types.VolumeStateAvailable {
			t.Errorf("the volume is %s", state)
		}
	})
}

// TestWithChaos_independentOfOtherCallers shows that other callers' calls do not change the faults of a call.
func TestWithChaos_independentOfOtherCallers(t *testing.T) {
	outcomes := func(others bool) (met []string) {
		runWithFixture(t, func(f fixture) {
			f.world.chaos = chaos{0.5, []Fault{Throttled}}
			look := func(account string) string {
				_, err := ec2.NewFromConfig(f.world.Config(account, home), withoutEC2Retries).DescribeRegions(
					f.Context(), &ec2.DescribeRegionsInput{},
				)
				if err == nil {
					return "well"
				}
				return requireErrorCode(t, err, "RequestLimitExceeded").ErrorCode()
			}

			for n := range 40 {
				if others && n%3 == 0 {
					look(member)
				}
				met = append(met, look(owner))
			}
		})

		return met
	}

	if alone, together := outcomes(false), outcomes(true); !slices.Equal(alone, together) {
		t.Errorf("alone %v, with other callers %v", alone, together)
	}
}

// TestInject_staleRead covers rule 4.4.1. A stale read misses what is less than a minute old, but nothing else.
func TestInject_staleRead(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		old := f.createVolume("")
		fresh := *requireOutput(f.ec2.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1),
		}))(f).VolumeId

		f.world.Inject(FaultRule{Fault: StaleRead, Action: "ec2:DescribeVolumes", Times: 3})
		seen := func(id string) error {
			_, err := f.ec2.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
			return err
		}

		if err := seen(old); err != nil {
			t.Errorf("the old volume: %v", err)
		}

		requireErrorCode(t, seen(fresh), "InvalidVolume.NotFound")
		time.Sleep(2 * time.Minute)
		if err := seen(fresh); err != nil {
			t.Errorf("after two minutes: %v", err)
		}
	})
}

// TestInject_expiredSession covers rule 5.4. The session stays expired. Its user is not affected.
func TestInject_expiredSession(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		caller := f.createUser(owner, "caller", `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}`)
		role := f.createRole(
			owner, "builder", `{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"sts:AssumeRole"}`,
			`{"Effect":"Allow","Action":"*","Resource":"*"}`,
		)

		session := requireOutput(f.assumeRole(caller, role))(f).Credentials
		client := ec2.NewFromConfig(
			f.withCredentials(*session.AccessKeyId, *session.SecretAccessKey, *session.SessionToken), withoutEC2Retries,
		)

		f.world.Inject(FaultRule{Fault: ExpiredSession, Nth: 2})
		requireOutput(client.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f)
		for range 2 {
			_, err := client.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
			requireErrorCode(t, err, "RequestExpired")
		}

		requireOutput(f.ec2.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f)
	})
}

func TestInject_lateFailureAndLimitReached(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		source := *requireOutput(f.ec2.CreateSnapshot(f.Context(), &ec2.CreateSnapshotInput{
			VolumeId: aws.String(f.createVolume("")),
		}))(f).SnapshotId

		time.Sleep(time.Hour)
		f.world.Inject(FaultRule{Fault: LimitReached, Action: "ec2:CopySnapshot", Nth: 1})
		f.world.Inject(FaultRule{Fault: LateCopyFailure, Action: "ec2:CopySnapshot", Nth: 1})
		in := &ec2.CopySnapshotInput{SourceRegion: aws.String(home), SourceSnapshotId: &source}
		_, err := f.ec2.CopySnapshot(f.Context(), in, withoutEC2Retries)
		requireErrorCode(t, err, "ResourceLimitExceeded")
		for _, want := range []types.SnapshotState{types.SnapshotStateError, types.SnapshotStateCompleted} {
			copied := requireOutput(f.ec2.CopySnapshot(f.Context(), in))(f)
			time.Sleep(time.Hour)
			if got := waitForSnapshotState(f.T, f.ec2, *copied.SnapshotId).State; got != want {
				t.Errorf("the copy is %s, want %s", got, want)
			}
		}
	})
}
