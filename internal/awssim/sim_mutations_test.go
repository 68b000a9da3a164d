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

// TestIsMutating_everyOperation shows that isMutating matches what observers see.
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
	want := []string{
		"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncrypt",
		"sts:AssumeRole",
	}

	if difference := cmp.Diff(want, others); difference != "" {
		t.Error(difference)
	}
}

// TestOnMutation_seesEveryChange shows that an observer sees every change that the recorder records.
func TestOnMutation_seesEveryChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		seen := map[string]int{}
		w.OnMutation(func(m Mutation) { seen[m.Action] += len(m.Changed) })
		shareAndCopy(t, w)
		changed := map[string]int{}
		for _, r := range w.Records().Mutating() {
			changed[r.Action] += len(r.Changed)
		}

		if difference := cmp.Diff(changed, seen); difference != "" || len(seen) == 0 {
			t.Errorf("%d actions; %s", len(seen), difference)
		}

		counts := w.Counts()
		expectEqual(t, "the calls counted", counts.Calls, len(w.Records()))
		expectEqual(t, "the mutations counted", counts.Mutations, len(w.Records().filter(func(r Record) bool {
			return isMutating(r.Action[len("ec2:"):]) && r.Error == ""
		})))
	})
}

func TestOnMutation_stateBeforeAndAfter(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		snapshot := f.rootSnapshot(f.ec2, image)
		var last Mutation
		check := func(Mutation) {}
		f.world.OnMutation(func(m Mutation) { last = m; check(m) })

		check = func(m Mutation) {
			before, _ := m.Before.Resource(snapshot)
			after, _ := m.After.Resource(snapshot)
			expectEqual(f, "the tag before", before.Tags["k"], "")
			expectEqual(f, "the tag after", after.Tags["k"], "v")
			expectEqual(f, "the creation time", after.CreatedAt, before.CreatedAt)
			expectEqual(f, "the owner", after.Account, owner)
		}

		requireNoError(0, f.setTag(f.ec2, snapshot, "v"))(f)
		expectEqual(f, "the action", last.Action, "ec2:CreateTags")
		expectEqual(f, "the Region", last.Region, home)
		expectEqual(f, "the input", last.Input.(*ec2.CreateTagsInput).Resources[0], snapshot)
		if age := last.At.Sub(last.SignedAt); age < 0 || age > 2*time.Second {
			t.Errorf("signed %s before", age)
		}

		check = func(m Mutation) {
			before, _ := m.Before.Resource(snapshot)
			after, _ := m.After.Resource(snapshot)
			expectEqual(f, "the accounts before", len(before.Accounts), 0)
			expectEqual(f, "the accounts after", slices.Equal(after.Accounts, []string{member}), true)
		}

		f.shareSnapshot(snapshot)

		// The parts of the image are unchanged.
		check = func(m Mutation) {
			was, existed := m.Before.Resource(snapshot)
			_, exists := m.After.Resource(snapshot)
			expectEqual(f, "the snapshot before", existed, true)
			expectEqual(f, "its tag before", was.Tags["k"], "v")
			expectEqual(f, "the snapshot after", exists, false)
			gone, existed := m.Before.Resource(image)
			expectEqual(
				f, "the image before", existed && gone.State == "available" && slices.Contains(gone.Snapshots, snapshot), true,
			)

			_, exists = m.After.Resource(image)
			expectEqual(f, "the image after", exists, false)
			var listed int
			for r := range m.Before.Resources {
				if r.ID == image || r.ID == snapshot {
					listed++
				}
			}

			expectEqual(f, "both in the list before", listed, 2)
		}

		requireNoError(f.ec2.DeregisterImage(f.Context(), &ec2.DeregisterImageInput{
			ImageId: &image, DeleteAssociatedSnapshots: aws.Bool(true),
		}))(f)

		expectEqual(f, "the action", last.Action, "ec2:DeregisterImage")
		expectEqual(f, "what changed", slices.Equal(last.Changed, []string{image, snapshot}), true)

		check = func(m Mutation) {
			id := *m.Output.(*ec2.CreateVolumeOutput).VolumeId
			_, existed := m.Before.Resource(id)
			_, exists := m.After.Resource(id)
			expectEqual(f, "the volume before", existed, false)
			expectEqual(f, "the volume after", exists, true)
		}

		requireNoError(f.ec2.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(home + "a"), Size: aws.Int32(1),
		}))(f)
	})
}

func TestOnMutation_grants(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		check := func(Mutation) {}
		f.world.OnMutation(func(m Mutation) { check(m) })
		grants := func(v View) (n int) {
			for g := range v.Grants {
				expectEqual(f, "the key of the grant", g.KeyARN, key)
				n++
			}
			return n
		}

		check = func(m Mutation) {
			expectEqual(f, "the grants before", grants(m.Before), 0)
			expectEqual(f, "the grants after", grants(m.After), 1)
		}

		created := requireOutput(f.kms.CreateGrant(f.Context(), &kms.CreateGrantInput{
			KeyId:            &key,
			GranteePrincipal: aws.String(rootOf(member)),
			Name:             aws.String("run-1"),
			Operations:       []kmstypes.GrantOperation{kmstypes.GrantOperationDecrypt},
		}))(f)

		check = func(m Mutation) {
			before, _ := m.Before.Grant(*created.GrantId)
			_, exists := m.After.Grant(*created.GrantId)
			expectEqual(f, "the name before", before.Name, "run-1")
			expectEqual(f, "the issuing account", before.IssuingAccount, owner)
			expectEqual(f, "the grants before", grants(m.Before), 1)
			expectEqual(f, "the grant after", exists, false)
		}

		requireNoError(f.kms.RevokeGrant(f.Context(), &kms.RevokeGrantInput{KeyId: &key, GrantId: created.GrantId}))(f)
	})
}

// TestOnMutation_onlyEffects shows that an observer does not see refused calls, dry runs and reading calls. It does see
// a call whose response is lost.
func TestOnMutation_onlyEffects(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		volume := f.createVolume("")
		var seen []Mutation
		f.world.OnMutation(func(m Mutation) { seen = append(seen, m) })
		_, err := f.ec2.CreateTags(f.Context(), &ec2.CreateTagsInput{
			Resources: []string{volume}, Tags: []types.Tag{{Key: aws.String("k")}}, DryRun: aws.Bool(true),
		})

		requireErrorCode(f, err, "DryRunOperation")
		expectDenied(f, "a tag of what does not exist", f.setTag(f.ec2, "vol-0123456789abcdef0", "v"))
		expectEqual(f, "the tag", f.tagValue(volume), "")
		expectEqual(f, "the mutations without an effect", len(seen), 0)

		f.world.Inject(FaultRule{Fault: LostResponse, Action: "ec2:CreateTags", Nth: 1})
		line := f.world.NewCrashingClient(0, false, nil)
		config := f.world.Config(owner, home)
		config.HTTPClient = line
		if f.setTag(ec2.NewFromConfig(config, withoutEC2Retries), volume, "v") == nil {
			t.Error("the answer arrived")
		}

		expectEqual(f, "the mutations", len(seen), 1)
		expectEqual(f, "the client", seen[0].Client, line)
		expectEqual(f, "the fault", seen[0].Fault, LostResponse)
		expectEqual(f, "the faults counted", f.world.Counts().Faults[LostResponse], 1)
	})
}

func TestOnMutation_notWhileBuilding(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		f.world.OnMutation(func(m Mutation) { t.Errorf("%s was seen", m.Action) })
		err := f.world.Build(func(builder *Builder) error {
			_, err := kms.NewFromConfig(builder.Config(owner, home)).CreateKey(context.Background(), &kms.CreateKeyInput{})
			return err
		})
		requireNoError(0, err)(f)
		expectEqual(f, "the calls counted", f.world.Counts().Calls, 0)
	})
}
