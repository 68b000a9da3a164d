// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"context"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/google/go-cmp/cmp"
)

// Operations that change something are those that an observer sees, and no others.
func TestIsMutating_everyOperation(t *testing.T) {
	reads := regexp.MustCompile("^(Describe|Get|List)")
	var others []string
	for service, known := range operations {
		for name := range known {
			if !isMutating(name) && !reads.MatchString(name) {
				others = append(others, service+":"+name)
			}
		}
	}
	slices.Sort(others)
	want := []string{"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt", "sts:AssumeRole"}
	if difference := cmp.Diff(want, others); difference != "" {
		t.Error(difference)
	}
}

// A run of several accounts: what the recorder calls a change is seen by the observer.
func TestOnMutation_seesEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		seen := map[string]int{}
		w.OnMutation(func(m Mutation) { seen[m.Action] += len(m.Changed) })
		busy(t, w)
		changed := map[string]int{}
		for _, r := range w.Records().Mutating() {
			changed[r.Action] += len(r.Changed)
		}
		if difference := cmp.Diff(changed, seen); difference != "" || len(seen) == 0 {
			t.Errorf("%d actions; %s", len(seen), difference)
		}
		counts := w.Counts()
		is(t, "the calls counted", counts.Calls, len(w.Records()))
		is(t, "the mutations counted", counts.Mutations, len(w.Records().filter(func(r Record) bool {
			return isMutating(r.Action[len("ec2:"):]) && r.Error == ""
		})))
	})
}

func TestOnMutation_stateBeforeAndAfter(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		image := b.image("")
		snapshot := b.root(b.ec2, image)
		var last Mutation
		check := func(Mutation) {}
		b.world.OnMutation(func(m Mutation) { last = m; check(m) })

		check = func(m Mutation) {
			before, _ := m.Before.Resource(snapshot)
			after, _ := m.After.Resource(snapshot)
			is(b, "the tag before", before.Tags["k"], "")
			is(b, "the tag after", after.Tags["k"], "v")
			is(b, "the creation time", after.CreatedAt, before.CreatedAt)
			is(b, "the owner", after.Account, owner)
		}
		must(0, b.tag(b.ec2, snapshot, "v"))(b)
		is(b, "the action", last.Action, "ec2:CreateTags")
		is(b, "the Region", last.Region, home)
		is(b, "the input", last.Input.(*ec2.CreateTagsInput).Resources[0], snapshot)
		if age := last.At.Sub(last.SignedAt); age < 0 || age > 2*time.Second {
			t.Errorf("signed %s before", age)
		}

		check = func(m Mutation) {
			before, _ := m.Before.Resource(snapshot)
			after, _ := m.After.Resource(snapshot)
			is(b, "the accounts before", len(before.Accounts), 0)
			is(b, "the accounts after", slices.Equal(after.Accounts, []string{member}), true)
		}
		b.share(snapshot)

		// What goes with the image is kept as it was.
		check = func(m Mutation) {
			was, existed := m.Before.Resource(snapshot)
			_, exists := m.After.Resource(snapshot)
			is(b, "the snapshot before", existed, true)
			is(b, "its tag before", was.Tags["k"], "v")
			is(b, "the snapshot after", exists, false)
			gone, existed := m.Before.Resource(image)
			is(b, "the image before", existed && gone.State == "available" && slices.Contains(gone.Snapshots, snapshot), true)
			_, exists = m.After.Resource(image)
			is(b, "the image after", exists, false)
			var listed int
			for r := range m.Before.Resources {
				if r.ID == image || r.ID == snapshot {
					listed++
				}
			}
			is(b, "both in the list before", listed, 2)
		}
		must(b.ec2.DeregisterImage(b.Context(), &ec2.DeregisterImageInput{ImageId: &image, DeleteAssociatedSnapshots: aws.Bool(true)}))(b)
		is(b, "the action", last.Action, "ec2:DeregisterImage")
		is(b, "what changed", slices.Equal(last.Changed, []string{image, snapshot}), true)

		check = func(m Mutation) {
			id := *m.Output.(*ec2.CreateVolumeOutput).VolumeId
			_, existed := m.Before.Resource(id)
			_, exists := m.After.Resource(id)
			is(b, "the volume before", existed, false)
			is(b, "the volume after", exists, true)
		}
		must(b.ec2.CreateVolume(b.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1)}))(b)
	})
}

func TestOnMutation_grants(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		key := b.key()
		check := func(Mutation) {}
		b.world.OnMutation(func(m Mutation) { check(m) })
		grants := func(v View) (n int) {
			for g := range v.Grants {
				is(b, "the key of the grant", g.KeyARN, key)
				n++
			}
			return n
		}
		check = func(m Mutation) {
			is(b, "the grants before", grants(m.Before), 0)
			is(b, "the grants after", grants(m.After), 1)
		}
		made := ok(b.kms.CreateGrant(b.Context(), &kms.CreateGrantInput{
			KeyId: &key, GranteePrincipal: aws.String(rootOf(member)), Name: aws.String("run-1"), Operations: []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
		}))(b)
		check = func(m Mutation) {
			before, _ := m.Before.Grant(*made.GrantId)
			_, exists := m.After.Grant(*made.GrantId)
			is(b, "the name before", before.Name, "run-1")
			is(b, "the issuing account", before.IssuingAccount, owner)
			is(b, "the grants before", grants(m.Before), 1)
			is(b, "the grant after", exists, false)
		}
		must(b.kms.RevokeGrant(b.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: made.GrantId}))(b)
	})
}

// Refused calls, dry runs and reading calls are not seen; one whose answer is lost is.
func TestOnMutation_onlyEffects(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		volume := b.volume("")
		var seen []Mutation
		b.world.OnMutation(func(m Mutation) { seen = append(seen, m) })
		_, err := b.ec2.CreateTags(b.Context(), &ec2.CreateTagsInput{Resources: []string{volume}, Tags: []types.Tag{{Key: aws.String("k")}}, DryRun: aws.Bool(true)})
		requireErrorCode(b, err, "DryRunOperation")
		denied(b, "a tag of what does not exist", b.tag(b.ec2, "vol-0123456789abcdef0", "v"))
		is(b, "the tag", b.valueOf(volume), "")
		is(b, "the mutations without an effect", len(seen), 0)

		b.world.Inject(FaultRule{Fault: LostResponse, Action: "ec2:CreateTags", Nth: 1})
		line := b.world.NewCrashingClient(0, false, nil)
		config := b.world.Config(owner, home)
		config.HTTPClient = line
		if b.tag(ec2.NewFromConfig(config, noRetries), volume, "v") == nil {
			t.Error("the answer arrived")
		}
		is(b, "the mutations", len(seen), 1)
		is(b, "the client", seen[0].Client, line)
		is(b, "the fault", seen[0].Fault, LostResponse)
		is(b, "the faults counted", b.world.Counts().Faults[LostResponse], 1)
	})
}

func TestOnMutation_notWhileBuilding(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		b.world.OnMutation(func(m Mutation) { t.Errorf("%s was seen", m.Action) })
		err := b.world.Build(func(builder *Builder) error {
			_, err := kms.NewFromConfig(builder.Config(owner, home)).CreateKey(context.Background(), &kms.CreateKeyInput{})
			return err
		})
		must(0, err)(b)
		is(b, "the calls counted", b.world.Counts().Calls, 0)
	})
}
