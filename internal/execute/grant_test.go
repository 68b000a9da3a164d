// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/report"
)

// autoScaling creates the service-linked role of Auto Scaling in an account, and returns a client of the role.
func (h *testWorld) autoScaling(account string) *ec2.Client {
	h.t.Helper()
	made, err := iam.NewFromConfig(h.Config(account, home)).
		CreateServiceLinkedRole(h.t.Context(), &iam.CreateServiceLinkedRoleInput{
			AWSServiceName: aws.String("autoscaling.amazonaws.com"),
		})
	h.must(err)
	config, err := h.ServiceConfig(aws.ToString(made.Role.Arn), home)
	h.must(err)
	return ec2.NewFromConfig(config)
}

// scaled returns the state of an instance that a service launched, and AWS's reason. The reason is empty if there is
// none.
func (h *testWorld) scaled(service *ec2.Client, image string) (ec2types.InstanceStateName, string) {
	h.t.Helper()
	launched, err := service.RunInstances(
		h.t.Context(),
		&ec2.RunInstancesInput{ImageId: &image, InstanceType: "t4g.micro", MinCount: aws.Int32(1), MaxCount: aws.Int32(1)},
	)
	h.must(err)
	time.Sleep(time.Minute)
	out, err := service.DescribeInstances(
		h.t.Context(),
		&ec2.DescribeInstancesInput{InstanceIds: []string{*launched.Instances[0].InstanceId}},
	)
	h.must(err)
	seen := out.Reservations[0].Instances[0]
	if seen.StateReason == nil {
		return seen.State.Name, ""
	}
	return seen.State.Name, aws.ToString(seen.StateReason.Code)
}

// grants returns the grants on a key.
func (h *testWorld) grants(account, region, key string) []kmstypes.GrantListEntry {
	h.t.Helper()
	client := kms.NewFromConfig(h.Config(account, region))
	if strings.HasPrefix(key, "alias/") { // 3.3.1
		described, err := client.DescribeKey(context.Background(), &kms.DescribeKeyInput{KeyId: &key})
		h.must(err)
		key = *described.KeyMetadata.Arn
	}
	out, err := client.ListGrants(context.Background(), &kms.ListGrantsInput{KeyId: &key})
	h.must(err)
	return out.Grants
}

// granting returns a request with a grant for Auto Scaling in every target.
func (h *testWorld) granting() distribution.Request {
	req := h.request()
	req.Targets[0].Grants = []distribution.Grant{{}}
	return req
}

// Auto Scaling of an account can launch under the account's own key only with a grant (rules 8.2 and 8.5). Without it,
// the launch fails.
func TestGrant_autoScalingOwnKey(t *testing.T) {
	const account = "222222222222"
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{account}, []string{home})
		service := h.autoScaling(account)
		_, result := h.run(t.Context(), h.request())
		h.complete(result)
		if state, reason := h.scaled(
			service,
			result.Images[0].ImageID,
		); state != ec2types.InstanceStateNameTerminated || reason != "Client.InvalidKMSKey.InvalidState" {
			t.Errorf("without a grant the instance is %s: %s", state, reason)
		}
		req := h.granting()
		for _, run := range []string{"run-2", "run-3"} {
			req.RunID = run
			_, result = h.run(t.Context(), req)
			h.complete(result)
			grants := h.grants(account, home, targetAlias)
			if len(grants) != 1 || len(result.Grants) != 1 || result.Grants[0].GrantID != *grants[0].GrantId {
				t.Fatalf("%s: grants %+v, reported %+v", run, grants, result.Grants)
			}
			if reported := result.Grants[0]; reported.Name != "encrypted-ami:AWSServiceRoleForAutoScaling" ||
				!slices.Equal(reported.Operations, []string{
					"CreateGrant", "Decrypt", "DescribeKey",
					"Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptFrom", "ReEncryptTo",
				}) || len(grants[0].Operations) != len(reported.Operations) {
				t.Errorf("reported %+v, granted %v", reported, grants[0].Operations)
			}
		}
		if state, reason := h.scaled(service, result.Images[0].ImageID); state != ec2types.InstanceStateNameRunning {
			t.Errorf("with the grant the instance is %s: %s", state, reason)
		}
	})
}

// An organization may keep all keys in one account. The key policy permits the target's account, and the target's role
// creates the grant for its Auto Scaling (rules 8.3 and 8.5).
func TestGrant_autoScalingForeignKey(t *testing.T) {
	const account, keeper = "222222222222", "444444444444"
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{account}, []string{home})
		service := h.autoScaling(account)
		keys := kms.NewFromConfig(h.Config(keeper, home))
		policy := `{"Version": "2012-10-17", "Statement": [
			{
				"Effect": "Allow",
				"Principal": {"AWS": "arn:aws:iam::` + keeper + `:root"},
				"Action": "kms:*",
				"Resource": "*"
			},
			{
				"Effect": "Allow",
				"Principal": {"AWS": "arn:aws:iam::` + account + `:root"},
				"Action": [
					"kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey",
					"kms:CreateGrant"
				],
				"Resource": "*"
			}
		]}`
		made, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{Policy: &policy})
		h.must(err)
		key := aws.ToString(made.KeyMetadata.Arn)
		for _, row := range []struct {
			run    string
			grants []distribution.Grant
			ends   ec2types.InstanceStateName
			reason string
		}{
			{"run-1", nil, ec2types.InstanceStateNameTerminated, "Client.InvalidKMSKey.InvalidState"},
			{"run-2", []distribution.Grant{{}}, ec2types.InstanceStateNameRunning, ""},
		} {
			req := h.request()
			req.Targets[0].KMSKeyID, req.Targets[0].Grants, req.RunID = distribution.Text(key), row.grants, row.run
			_, result := h.run(t.Context(), req)
			h.complete(result)
			if state, reason := h.scaled(service, result.Images[0].ImageID); state != row.ends || reason != row.reason {
				t.Errorf("%s: the instance is %s: %s", row.run, state, reason)
			}
			if grants := h.grants(keeper, home, key); len(grants) != len(row.grants) || len(result.Grants) != len(row.grants) {
				t.Errorf("%s: grants %+v, reported %+v", row.run, grants, result.Grants)
			}
		}
	})
}

// The template names the principal that may use the key, and the operations.
func TestGrant_principalAndOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222", "333333333333"}, []string{home})
		req := h.request()
		req.Targets[0].Grants = []distribution.Grant{{Name: "use/{{ .Region }}", Grantee: "arn:aws:iam::{{ .AccountId " +
			"}}:role/" + roleName, Operations: []string{"Decrypt", "DescribeKey"}}}
		_, result := h.run(t.Context(), req)
		h.complete(result)
		for _, account := range h.targets {
			grants := h.grants(account, home, targetAlias)
			if len(grants) != 1 || *grants[0].Name != "use/"+home ||
				*grants[0].GranteePrincipal != "arn:aws:iam::"+account+":role/"+roleName || len(grants[0].Operations) != 2 {
				t.Errorf("%s: %+v", account, grants)
			}
		}
	})
}

// A grant that cannot be created is reported before a copy starts in its account: the role does not exist yet (rule
// 8.3).
func TestGrant_principalMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed, []string{"222222222222", "333333333333"}, []string{home})
		h.autoScaling("333333333333")
		_, result := h.run(t.Context(), h.granting())
		h.completeAt("333333333333", home)
		if len(result.Images) != 1 || len(result.Findings) != 1 || result.Findings[0].Reference != "8.3" ||
			!strings.Contains(result.Findings[0].Remediation, "create-service-linked-role") {
			t.Errorf("findings %+v", result.Findings)
		}
		if copies := h.Records().Calls("ec2:CopySnapshot").ByAccount("222222222222"); len(copies) > 0 {
			t.Errorf("%d copies were made", len(copies))
		}
	})
}

// No account can create grants on AWS managed keys, and none is needed (rule 8.1).
func TestGrant_awsManagedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed[1:2], []string{"222222222222"}, []string{home})
		req := h.granting()
		req.Targets[0].KMSKeyID = distribution.DefaultKey
		p := h.decided(t.Context(), h.pool(t.Context(), h.World), req)
		if !p.Refused() ||
			!slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool { return f.Reference == "8.1" }) {
			t.Errorf("findings %+v", p.Findings)
		}
	})
}

// sharingOnly returns a request that lets an account launch the source's own image, with grants on its key.
func (h *testWorld) sharingOnly(account, run string, grants ...distribution.Grant) distribution.Request {
	req := h.request()
	req.Targets, req.RunID = nil, run
	share := distribution.Share{Name: "fleet", AccountIDs: []string{account}, Grants: grants}
	if len(grants) > 0 {
		share.Roles = []distribution.Role{{RoleName: roleName, ExternalID: "golden"}}
	}
	req.Shares = []distribution.Share{share}
	return req
}

// Sharing an image does not permit another account to use its key. A grant of that account permits its Auto Scaling
// (rules 8.3 and 8.5).
func TestGrant_autoScalingSharedImage(t *testing.T) {
	const account = "222222222222"
	for name, volumes := range map[string][]volume{"as it is": {{8, sourceAlias}}, "staged": {{8, "alias/aws/ebs"}}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, volumes, []string{account}, []string{home})
				service := h.autoScaling(account)
				for _, row := range []struct {
					run    string
					grants []distribution.Grant
					ends   ec2types.InstanceStateName
					reason string
				}{
					{"run-1", nil, ec2types.InstanceStateNameTerminated, "Client.InvalidKMSKey.InvalidState"},
					{"run-2", []distribution.Grant{{}}, ec2types.InstanceStateNameRunning, ""},
					{"run-3", []distribution.Grant{{}}, ec2types.InstanceStateNameRunning, ""},
					{"run-4", nil, ec2types.InstanceStateNameRunning, ""}, // no run revokes the grant
				} {
					_, result := h.run(t.Context(), h.sharingOnly(account, row.run, row.grants...))
					if len(result.Findings) > 0 || len(result.Shares) != 1 {
						t.Fatalf("%s: findings %+v, shares %+v", row.run, result.Findings, result.Shares)
					}
					if state, reason := h.scaled(service, result.Shares[0].ImageID); state != row.ends || reason != row.reason {
						t.Errorf("%s: the instance is %s: %s", row.run, state, reason)
					}
					if len(result.Grants) != len(row.grants) {
						t.Errorf("%s: reported %+v", row.run, result.Grants)
					}
					for _, reported := range result.Grants {
						if reported.At.Account != account ||
							!strings.HasPrefix(reported.KeyARN, "arn:aws:kms:"+home+":"+source+":key/") ||
							reported.Name != "encrypted-ami:AWSServiceRoleForAutoScaling" {
							t.Errorf("%s: reported %+v", row.run, reported)
						}
					}
				}
				ours := slices.DeleteFunc(
					h.grants(source, home, sourceAlias),
					func(g kmstypes.GrantListEntry) bool { return aws.ToString(g.Name) == "" },
				)
				if len(ours) != 1 || !strings.HasSuffix(*ours[0].GranteePrincipal, "/AWSServiceRoleForAutoScaling") {
					t.Errorf("grants %+v", ours)
				}
			})
		})
	}
}

// For a grant, the key policy must permit the account itself, not only AWS services (rule 8.3). Otherwise the run
// shares the image, creates no grant and reports that.
func TestCreateGrant_refusedBySourceKeyPolicy(t *testing.T) {
	const account = "222222222222"
	for name, refuse := range map[string]func(*testWorld){
		"by the role": func(h *testWorld) { h.forbid(account, "kms:CreateGrant") },
		"by the key": func(h *testWorld) {
			h.with = byGrant
			h.putSourceKeyPolicies()
			h.with = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, mixed[1:2], []string{account}, []string{home})
				h.autoScaling(account)
				refuse(h)
				p, result := h.run(t.Context(), h.sharingOnly(account, "run-1", distribution.Grant{}))
				missing := report.Unshared(p, result)
				if len(missing) != 1 || len(missing[0].Grants) != 1 || len(result.Shares) != 1 || len(result.Grants) != 0 {
					t.Errorf("missing %+v, shares %+v, grants %+v", missing, result.Shares, result.Grants)
				}
				if len(result.Findings) != 1 || result.Findings[0].Operation != "kms:CreateGrant" ||
					result.Findings[0].Remediation == "" || name == "by the key" && !adds(result.Findings[0], "kms:CreateGrant") {
					t.Errorf("findings %+v", result.Findings)
				}
			})
		})
	}
}

// The plan reports what prevents the grants of a share block.
func TestGrant_shareRefused(t *testing.T) {
	const account = "222222222222"
	for _, row := range []struct {
		name  string
		of    func(*distribution.Request)
		field string
		rule  string
	}{
		{
			"without credentials",
			func(r *distribution.Request) { r.Shares[0].Roles = nil },
			`share "fleet": assume_role`,
			"5.10",
		},
		{
			"with a role that is not there",
			func(r *distribution.Request) { r.Shares[0].Roles[0].RoleName = "missing" },
			`share "fleet": assume_role`,
			"5.6",
		},
		{
			"on the key of an image that is not encrypted",
			func(r *distribution.Request) {
				r.KMSKeyID, r.AllowUnencryptedShare = "", true
			},
			`share "fleet": kms_grant`,
			"8.3",
		},
		{
			"by two blocks",
			func(r *distribution.Request) { r.Shares = append(r.Shares, r.Shares[0]) },
			`share "fleet": account_ids`,
			"",
		},
		{
			"with a template that is none",
			func(r *distribution.Request) { r.Shares[0].Grants[0].Name = "{{ .Nothing }}" },
			`share "fleet": kms_grant: name`,
			"",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, []volume{{8, ""}}, []string{account}, []string{home})
				req := h.sharingOnly(account, "run-1", distribution.Grant{})
				row.of(&req)
				p := h.decided(t.Context(), h.pool(t.Context(), h.World), req)
				if !slices.ContainsFunc(p.Findings, func(f distribution.Finding) bool {
					return f.Level == distribution.Refused && f.Field == row.field && f.Reference == row.rule && f.Detail != ""
				}) {
					t.Errorf("findings %+v", p.Findings)
				}
			})
		})
	}
}

// An account of a share block that is also a target creates both grants with one role.
func TestGrant_shareAndTarget(t *testing.T) {
	const account = "222222222222"
	synctest.Test(t, func(t *testing.T) {
		h := build(t, mixed, []string{account}, []string{home})
		h.autoScaling(account)
		req := h.granting()
		req.Shares = h.sharingOnly(account, "run-1", distribution.Grant{}).Shares
		_, result := h.run(t.Context(), req)
		h.complete(result)
		if len(result.Grants) != 2 || result.Grants[0].KeyARN == result.Grants[1].KeyARN {
			t.Errorf("grants %+v", result.Grants)
		}
		req.Shares[0].Roles = []distribution.Role{{RoleName: "another"}}
		p := h.decided(
			t.Context(),
			h.pool(t.Context(), h.World),
			req,
		)
		if !slices.ContainsFunc(
			p.Findings,
			func(f distribution.Finding) bool {
				return f.Level == distribution.Refused && strings.Contains(f.Summary, "other credentials")
			},
		) {
			t.Errorf("findings %+v", p.Findings)
		}
	})
}
