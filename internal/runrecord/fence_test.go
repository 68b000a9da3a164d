// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

func write(tags ...string) *ec2.CreateTagsInput {
	in := &ec2.CreateTagsInput{}
	for i := 0; i < len(tags); i += 2 {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(tags[i]), Value: aws.String(tags[i+1])})
	}
	return in
}

func remove(keys ...string) *ec2.DeleteTagsInput {
	in := &ec2.DeleteTagsInput{}
	for _, key := range keys {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key)})
	}
	return in
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		recordKey, working := Record{ID: "a", Began: now, Until: now.Add(time.Hour)}.tag()
		_, ended := Record{ID: "a", Ended: true, Began: now, Until: now.Add(time.Hour)}.tag()
		signingKey, secret := provenance.NewSigningKey(now).Tag()
		call := &ec2.DeleteSnapshotInput{}
		const none, open, lapsed = 0, 17 * time.Minute, 15 * time.Minute // until the record lapses; 0 without a record
		for _, c := range []struct {
			name  string
			input any
			until time.Duration
			want  error
		}{
			{"any call without a record", call, none, ErrNoRecord},
			{"any call with a record", call, open, nil},
			{"any call with a lapsed record", call, lapsed, ErrLapsed},
			{"protection without a record", &ec2.EnableImageDeregistrationProtectionInput{}, none, nil},
			{"protection with a lapsed record", &ec2.EnableImageDeregistrationProtectionInput{}, lapsed, nil},
			{"lifting the protection without a record", &ec2.DisableImageDeregistrationProtectionInput{}, none, ErrNoRecord},
			{"signing key without a record", write(signingKey, secret), none, nil},
			{"signing key and another tag", write(signingKey, secret, "Name", "golden"), none, ErrNoRecord},
			{"signature without a record", write(provenance.TagSignature, ""), none, ErrNoRecord},
			{"tags of no key", write(), none, ErrNoRecord},
			{"first record", write(recordKey, working), none, nil},
			{"renewal", write(recordKey, working), open, nil},
			{"renewal of a lapsed record", write(recordKey, working), lapsed, ErrLapsed},
			{"end of a lapsed record", write(recordKey, ended), lapsed, nil},
			{"record that cannot be read", write(recordKey, "working"), none, ErrNoRecord},
			{"deletion of a record", remove(recordKey), lapsed, nil},
			{"deletion of a signing key", remove(signingKey), lapsed, ErrLapsed},
			{"deletion of a record and another tag", remove(recordKey, "Name"), lapsed, ErrLapsed},
		} {
			r := New(&Clock{})
			if c.until != 0 {
				r.until = now.Add(c.until)
			}
			if got := r.Check(c.input, now); !errors.Is(got, c.want) {
				t.Errorf("%s: got %v, want %v", c.name, got, c.want)
			}
		}
	})
}

// The later of both clocks counts. A signature by a slow clock does not make a lapsed record valid.
func TestCheck_clockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		clock := &Clock{}
		clock.Observe(now.Add(10 * time.Minute))
		r := New(clock)
		r.until = now.Add(20 * time.Minute)
		if got := r.Check(&ec2.DeleteSnapshotInput{}, now); !errors.Is(got, ErrLapsed) {
			t.Errorf("got %v, want %v", got, ErrLapsed)
		}
	})
}

func TestClock_advancesWithWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &Clock{}
		if now, ok := clock.Now(); ok {
			t.Errorf("got %v before any response", now)
		}
		clock.Observe(noon)
		time.Sleep(time.Hour)
		if now, _ := clock.Now(); !now.Equal(noon.Add(time.Hour)) {
			t.Errorf("got %v, want %v", now, noon.Add(time.Hour))
		}
	})
}
