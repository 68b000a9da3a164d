// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// clientWithout returns a client of a member user with all permissions except one action on one key.
func (f fixture) clientWithout(action, key string) *ec2.Client {
	f.Helper()
	config := f.world.Config(member, home)
	users := iam.NewFromConfig(config)
	name := aws.String("limited")
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []map[string]string{
		{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": action, "Resource": key},
	}})
	if err != nil {
		f.Fatal(err)
	}

	requireOutput(users.CreateUser(f.Context(), &iam.CreateUserInput{UserName: name}))(f)
	requireOutput(users.PutUserPolicy(f.Context(), &iam.PutUserPolicyInput{
		UserName: name, PolicyName: name, PolicyDocument: aws.String(string(policy)),
	}))(f)

	created := requireOutput(users.CreateAccessKey(f.Context(), &iam.CreateAccessKeyInput{UserName: name}))(f).AccessKey
	config.Credentials = credentials.NewStaticCredentialsProvider(*created.AccessKeyId, *created.SecretAccessKey, "")
	return ec2.NewFromConfig(config, withoutEC2Retries)
}

// TestCopySnapshot_permissions checks rules 1.8.3, 1.8.4, 3.1.3 and 3.1.8: which permissions CopySnapshot needs on the
// two keys, and when a missing one shows.
func TestCopySnapshot_permissions(t *testing.T) {
	const atOnce, later, never = "at once", "later", "never"
	for _, row := range []struct {
		rule, action, on, shows string
	}{
		{"1.8.3", "kms:DescribeKey", "target", atOnce},
		{"1.8.4", "kms:CreateGrant", "target", later},
		{"3.1.8 data key", "kms:GenerateDataKeyWithoutPlaintext", "target", later},
		{"3.1.8 decrypt", "kms:Decrypt", "target", never},
		{"3.1.8 re-encrypt", "kms:ReEncrypt*", "target", never},
		{"3.1.8 plaintext", "kms:GenerateDataKey", "target", never},
		{"3.1.3", "kms:CreateGrant", "source", later},
		{"3.1.8 describe", "kms:DescribeKey", "source", never},
		{"3.1.8 decrypt the source", "kms:Decrypt", "source", never},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				keys := map[string]string{"source": f.createSharedKey(), "target": f.createKeyIn(member, home)}
				source := f.createSnapshot(keys["source"])
				f.shareSnapshot(source)
				created, err := f.clientWithout(row.action, keys[row.on]).CopySnapshot(f.Context(), &ec2.CopySnapshotInput{
					SourceRegion:     aws.String(home),
					SourceSnapshotId: &source,
					Encrypted:        aws.Bool(true),
					KmsKeyId:         aws.String(keys["target"]),
				})

				if row.shows == atOnce {
					requireError(t, err, "AuthFailure", "Not authorized to use key "+keys["target"]+" ")
					var response *smithyhttp.ResponseError
					if !errors.As(err, &response) || response.HTTPStatusCode() != http.StatusForbidden {
						t.Errorf("the refusal is %v", err)
					}
					return
				}

				if err != nil {
					t.Fatal(err)
				}

				got := f.waitForSnapshot(f.ec2At(member, home), *created.SnapshotId)
				want := types.SnapshotStateCompleted
				if row.shows == later {
					want = types.SnapshotStateError
				}
				if got.State != want || row.shows == later && *got.StateMessage != "Given key ID is not accessible" {
					t.Errorf("the copy is %s: %s", got.State, aws.ToString(got.StateMessage))
				}
			})
		})
	}
}

// TestCopySnapshot_secondCopyReusesDataKey covers rule 3.1.9. A second copy of the same data under the same key needs
// no new data key.
func TestCopySnapshot_secondCopyReusesDataKey(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		target := f.createKeyIn(member, home)
		source := f.createSnapshot(f.createSharedKey())
		f.shareSnapshot(source)
		limited := f.clientWithout("kms:GenerateDataKeyWithoutPlaintext", target)
		f.waitForSnapshot(f.ec2At(member, home), f.copySnapshot(f.ec2At(member, home), source, withKey(target)))
		got := f.waitForSnapshot(limited, f.copySnapshot(limited, source, withKey(target)))
		if got.State != types.SnapshotStateCompleted {
			t.Errorf("the second copy is %s: %s", got.State, aws.ToString(got.StateMessage))
		}
	})
}

// TestCreateVolume_permissions checks rules A.4.8 and A.4.9. Without one of its permissions the volume disappears.
func TestCreateVolume_permissions(t *testing.T) {
	for _, row := range []struct {
		rule, action, on string
		vanishes         bool
	}{
		{"A.4.8 source", "kms:ReEncryptFrom", "source", true},
		{"A.4.8 no grant on the source", "kms:CreateGrant", "source", false},
		{"A.4.8 no decryption of the source", "kms:Decrypt", "source", false},
		{"A.4.8 target", "kms:ReEncryptTo", "target", true},
		{"A.4.8 data key", "kms:GenerateDataKeyWithoutPlaintext", "target", true},
		{"A.4.9", "kms:CreateGrant", "target", true},
	} {
		t.Run(row.rule, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				keys := map[string]string{"source": f.createSharedKey(), "target": f.createKeyIn(member, home)}
				source := f.createSnapshot(keys["source"])
				f.shareSnapshot(source)
				client := f.clientWithout(row.action, keys[row.on])
				created := requireOutput(client.CreateVolume(f.Context(), &ec2.CreateVolumeInput{
					AvailabilityZone: aws.String(home + "a"),
					SnapshotId:       &source,
					Encrypted:        aws.Bool(true),
					KmsKeyId:         aws.String(keys["target"]),
				}))(f)

				time.Sleep(time.Minute)
				_, err := client.DescribeVolumes(f.Context(), &ec2.DescribeVolumesInput{VolumeIds: []string{*created.VolumeId}})
				if row.vanishes {
					requireErrorCode(t, err, "InvalidVolume.NotFound")
				} else if err != nil {
					t.Error(err)
				}
			})
		})
	}
}
