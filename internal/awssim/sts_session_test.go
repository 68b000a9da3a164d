// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
)

// newPolicy returns a policy with statements.
func newPolicy(statements ...string) *string {
	return aws.String(`{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`)
}

// allowStatement returns a statement that allows actions on all resources.
func allowStatement(actions string) string {
	return `{"Effect":"Allow","Action":[` + actions + `],"Resource":"*"}`
}

// trustStatement returns a statement of a trust policy, with an optional Condition.
func trustStatement(principal, actions string, condition ...string) string {
	return `{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":[` + actions + `]` + strings.Join(
		append([]string{""}, condition...), ",",
	) + `}`
}

// requireErrorMessage requires an error code and a part of the message.
func requireErrorMessage(t testing.TB, err error, code, part string) {
	t.Helper()
	if got := requireErrorCode(t, err, code).ErrorMessage(); !strings.Contains(got, part) {
		t.Errorf("the refusal says %q, and not %q", got, part)
	}
}

func rootOf(account string) string { return "arn:aws:iam::" + account + ":root" }

func (f fixture) iam(account string) *iam.Client {
	return iam.NewFromConfig(f.world.Config(account, home))
}

// withCredentials returns an SDK config for other credentials in the same Region.
func (f fixture) withCredentials(id, secret, token string) aws.Config {
	config := f.world.Config(owner, home)
	config.Credentials = credentials.NewStaticCredentialsProvider(id, secret, token)
	config.Retryer = newRetryer
	return config
}

// createUser creates a user with a policy and returns its credentials.
func (f fixture) createUser(account, name string, statements ...string) aws.Config {
	f.Helper()
	client := f.iam(account)
	requireOutput(client.CreateUser(f.Context(), &iam.CreateUserInput{UserName: &name}))(f)
	if len(statements) > 0 {
		requireOutput(client.PutUserPolicy(f.Context(), &iam.PutUserPolicyInput{
			UserName: &name, PolicyName: aws.String("own"), PolicyDocument: newPolicy(statements...),
		}))(f)
	}
	key := requireOutput(client.CreateAccessKey(f.Context(), &iam.CreateAccessKeyInput{UserName: &name}))(f).AccessKey
	return f.withCredentials(*key.AccessKeyId, *key.SecretAccessKey, "")
}

// createRole creates a role with a trust policy and optional other policies, and returns its ARN.
func (f fixture) createRole(account, name, trust string, statements ...string) string {
	f.Helper()
	client := f.iam(account)
	created := requireOutput(client.CreateRole(f.Context(), &iam.CreateRoleInput{
		RoleName: &name, AssumeRolePolicyDocument: newPolicy(trust),
	}))(f)
	if len(statements) > 0 {
		requireOutput(client.PutRolePolicy(f.Context(), &iam.PutRolePolicyInput{
			RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: newPolicy(statements...),
		}))(f)
	}
	return *created.Role.Arn
}

// assumeRole assumes a role.
func (f fixture) assumeRole(
	caller aws.Config, role string, changes ...func(*sts.AssumeRoleInput),
) (*sts.AssumeRoleOutput, error) {
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")}
	for _, change := range changes {
		change(in)
	}
	return sts.NewFromConfig(caller).AssumeRole(f.Context(), in)
}

// sessionCredentials returns credentials of a role session. A user of the role's account assumes the role.
func (f fixture) sessionCredentials(role string, changes ...func(*sts.AssumeRoleInput)) aws.Config {
	f.Helper()
	account := strings.Split(role, ":")[4]
	caller := f.createUser(
		account,
		"caller-"+strings.ReplaceAll(role[strings.LastIndex(role, "/")+1:], "/", "-")+time.Now().Format("150405.000000000"),
		allowStatement(`"sts:*"`),
	)
	return f.credentials(requireOutput(f.assumeRole(caller, role, changes...))(f).Credentials)
}

func (f fixture) credentials(c *ststypes.Credentials) aws.Config {
	return f.withCredentials(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
}

func lasting(d time.Duration) func(*sts.AssumeRoleInput) {
	return func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(int32(d.Seconds())) }
}

func TestAssumeRole_trustPolicy(t *testing.T) {
	const (
		caller = "arn:aws:iam::" + owner + ":user/caller"
		other  = "arn:aws:iam::" + owner + ":user/other"
	)

	assume := `"sts:AssumeRole"`
	external := func(id string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.ExternalId = &id }
	}

	named := `"Condition":{"StringEquals":{"sts:ExternalId":"golden"}}`
	for name, row := range map[string]struct {
		account string // of the role
		trust   string
		policy  []string // policies of the caller
		change  []func(*sts.AssumeRoleInput)
		refused string // part of the error message
	}{
		"5.6 the account, and the caller may": {
			account: owner, trust: trustStatement(rootOf(owner), assume), policy: []string{allowStatement(assume)},
		},
		"5.6 the account, and the caller may not": {
			account: owner, trust: trustStatement(rootOf(owner), assume), refused: "no identity-based policy",
		},
		"5.6 the caller itself, in its own account": {account: owner, trust: trustStatement(caller, assume)},
		"5.6 somebody else": {
			account: owner,
			trust:   trustStatement(other, assume),
			policy:  []string{allowStatement(assume)},
			refused: "no role trust policy",
		},
		"5.6 across accounts, and the caller may": {
			account: member, trust: trustStatement(rootOf(owner), assume), policy: []string{allowStatement(assume)},
		},
		"5.6 across accounts, the caller itself, which may not": {
			account: member, trust: trustStatement(caller, assume), refused: "no identity-based policy",
		},
		"5.6 across accounts, the role's own account only": {
			account: member,
			trust:   trustStatement(rootOf(member), assume),
			policy:  []string{allowStatement(assume)},
			refused: "no role trust policy",
		},
		"5.6 the external id is missing": {
			account: member,
			trust:   trustStatement(rootOf(owner), assume, named),
			policy:  []string{allowStatement(assume)},
			refused: "no role trust policy",
		},
		"5.6 the external id is another": {
			account: member,
			trust:   trustStatement(rootOf(owner), assume, named),
			policy:  []string{allowStatement(assume)},
			change:  []func(*sts.AssumeRoleInput){external("guessed")},
			refused: "no role trust policy",
		},
		"5.6 the external id matches": {
			account: member,
			trust:   trustStatement(rootOf(owner), assume, named),
			policy:  []string{allowStatement(assume)},
			change:  []func(*sts.AssumeRoleInput){external("golden")},
		},
		"5.6 tags need sts:TagSession in the trust policy": {
			account: member,
			trust:   trustStatement(rootOf(owner), assume),
			policy:  []string{allowStatement(`"sts:*"`)},
			refused: "sts:TagSession",
			change: []func(*sts.AssumeRoleInput){func(in *sts.AssumeRoleInput) {
				in.Tags = []ststypes.Tag{{Key: aws.String("team"), Value: aws.String("golden")}}
			}},
		},
		"5.6 tags with sts:TagSession": {
			account: member,
			trust:   trustStatement(rootOf(owner), assume+`,"sts:TagSession"`),
			policy:  []string{allowStatement(`"sts:*"`)},
			change: []func(*sts.AssumeRoleInput){func(in *sts.AssumeRoleInput) {
				in.Tags = []ststypes.Tag{{Key: aws.String("team"), Value: aws.String("golden")}}
			}},
		},
		"5.6 a source identity needs sts:SetSourceIdentity": {
			account: member,
			trust:   trustStatement(rootOf(owner), assume),
			policy:  []string{allowStatement(`"sts:*"`)},
			refused: "sts:SetSourceIdentity",
			change:  []func(*sts.AssumeRoleInput){func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("someone") }},
		},
		"5.6 a source identity with sts:SetSourceIdentity": {
			account: member,
			trust:   trustStatement(rootOf(owner), assume+`,"sts:SetSourceIdentity"`),
			policy:  []string{allowStatement(`"sts:*"`)},
			change:  []func(*sts.AssumeRoleInput){func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("someone") }},
		},
	} {
		t.Run(name, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				config := f.createUser(owner, "caller", row.policy...)
				f.createUser(owner, "other")
				_, err := f.assumeRole(config, f.createRole(row.account, "target", row.trust), row.change...)
				if row.refused == "" {
					requireOutput(1, err)(f)
					return
				}
				requireErrorMessage(f, err, "AccessDenied", row.refused)
			})
		})
	}
}

func TestAssumeRole_rootOrUnknownRole(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role := f.createRole(owner, "target", trustStatement(rootOf(owner), `"sts:AssumeRole"`))
		_, err := f.assumeRole(f.world.Config(owner, home), role)
		requireErrorMessage(f, err, "AccessDenied", "Roles may not be assumed by root accounts.")
		_, err = f.assumeRole(
			f.createUser(owner, "caller", allowStatement(`"sts:*"`)), strings.Replace(role, "target", "unknown", 1),
		)
		requireErrorCode(f, err, "AccessDenied") // rule 5.6: looks like any other refusal
	})
}

func TestAssumeRole_invalidParameters(t *testing.T) {
	long := strings.Repeat("x", 2048)
	for name, row := range map[string]struct {
		change func(*sts.AssumeRoleInput)
		code   string
	}{
		"5.1 899 seconds":               {lasting(899 * time.Second), "ValidationError"},
		"5.1 43201 seconds":             {lasting(43201 * time.Second), "ValidationError"},
		"5.1 more than the role allows": {lasting(time.Hour + time.Second), "ValidationError"},
		"5.1 900 seconds":               {lasting(900 * time.Second), ""},
		"5.5 session name too short": {
			func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("x") }, "ValidationError",
		},
		"5.5 session name with a blank": {
			func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a b") }, "ValidationError",
		},
		"5.5 external id of one character": {
			func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("x") }, "ValidationError",
		},
		"5.5 external id of 1225": {
			func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String(strings.Repeat("x", 1225)) }, "ValidationError",
		},
		"5.5 external id with a blank": {
			func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("a b") }, "ValidationError",
		},
		"5.5 external id of 1224": {
			func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String(strings.Repeat(`x`, 1217) + `+=,.@:/`) }, "",
		},
		"5.5 source identity of AWS": {
			func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("aws:me") }, "ValidationError",
		},
		"5.5 session policy of 2049": {
			func(in *sts.AssumeRoleInput) { in.Policy = aws.String(long + "x") }, "ValidationError",
		},
		"5.6 session policy that is no policy": {
			func(in *sts.AssumeRoleInput) { in.Policy = &long }, "MalformedPolicyDocument",
		},
		"5.5 eleven managed policies": {func(in *sts.AssumeRoleInput) {
			in.PolicyArns = slices.Repeat([]ststypes.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/X")}}, 11)
		}, "ValidationError"},
		"5.5 a tag key of 129": {func(in *sts.AssumeRoleInput) {
			in.Tags = []ststypes.Tag{{Key: aws.String(strings.Repeat("k", 129)), Value: aws.String("v")}}
		}, "ValidationError"},
		"5.5 a tag value of 257": {func(in *sts.AssumeRoleInput) {
			in.Tags = []ststypes.Tag{{Key: aws.String("k"), Value: aws.String(strings.Repeat("v", 257))}}
		}, "ValidationError"},
		"5.5 51 tags": {func(in *sts.AssumeRoleInput) { in.Tags = numberedTags(51, "v") }, "ValidationError"},
		"5.5 keys that differ in case only": {func(in *sts.AssumeRoleInput) {
			in.Tags = []ststypes.Tag{
				{Key: aws.String("k"), Value: aws.String("v")}, {Key: aws.String("K"), Value: aws.String("v")},
			}
		}, "InvalidParameterValue"},
		"5.5 a transitive key that is no tag's": {
			func(in *sts.AssumeRoleInput) { in.TransitiveTagKeys = []string{"k"} }, "InvalidParameterValue",
		},
		"5.6 more tags than a token can carry": {
			func(in *sts.AssumeRoleInput) { in.Tags = numberedTags(50, strings.Repeat("v", 200)) }, "PackedPolicyTooLarge",
		},
		"5.5 fifty tags, some of them transitive": {
			func(in *sts.AssumeRoleInput) { in.Tags, in.TransitiveTagKeys = numberedTags(50, "v"), []string{"k07"} }, "",
		},
		"5.5 an ARN that is no role's": {
			func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("arn:aws:iam::" + owner + ":user/somebody") },
			"ValidationError",
		},
		"multi-factor authentication is not there": {
			func(in *sts.AssumeRoleInput) { in.SerialNumber = aws.String("arn:aws:iam::" + owner + ":mfa/x") },
			"UnsupportedOperation",
		},
	} {
		t.Run(name, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				role := f.createRole(owner, "target", trustStatement(rootOf(owner), `"sts:*"`))
				_, err := f.assumeRole(f.createUser(owner, "caller", allowStatement(`"sts:*"`)), role, row.change)
				if row.code == "" {
					requireOutput(1, err)(f)
					return
				}
				requireErrorCode(f, err, row.code)
			})
		})
	}
}

func numberedTags(n int, value string) (tags []ststypes.Tag) {
	for i := range n {
		tags = append(tags, ststypes.Tag{
			Key: aws.String("k" + string(rune('0'+i/10)) + string(rune('0'+i%10))), Value: &value,
		})
	}
	return tags
}

// TestAssumeRole_roleChaining covers rule 5.2. A session of role chaining lasts at most one hour.
func TestAssumeRole_roleChaining(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		trust := trustStatement("*", `"sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"`)
		first := f.createRole(owner, "first", trust, allowStatement(`"sts:*"`))
		second := f.createRole(member, "second", trust, allowStatement(`"*"`))
		for name, account := range map[string]string{"first": owner, "second": member} {
			requireOutput(f.iam(account).UpdateRole(f.Context(), &iam.UpdateRoleInput{
				RoleName: &name, MaxSessionDuration: aws.Int32(43200),
			}))(f)
		}

		one := f.sessionCredentials(first, lasting(12*time.Hour), func(in *sts.AssumeRoleInput) {
			in.SourceIdentity, in.TransitiveTagKeys = aws.String("someone"), []string{"team"}
			in.Tags = []ststypes.Tag{
				{Key: aws.String("team"), Value: aws.String("golden")}, {Key: aws.String("here"), Value: aws.String("only")},
			}
		})

		_, err := f.assumeRole(one, second, lasting(time.Hour+time.Second))
		// rule 5.2: a session of role chaining lasts at most one hour
		requireErrorMessage(f, err, "ValidationError", "exceeds the 1 hour session limit for roles assumed by role chaining")
		_, err = f.assumeRole(one, second, func(in *sts.AssumeRoleInput) {
			in.Tags = []ststypes.Tag{{Key: aws.String("Team"), Value: aws.String("other")}}
		})

		requireErrorCode(f, err, "InvalidParameterValue") // rule 5.5: the tag is inherited
		_, err = f.assumeRole(one, second, func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("other") })
		requireErrorCode(f, err, "AccessDenied") // rule 5.5: the tag cannot be changed

		created := requireOutput(f.assumeRole(one, second, lasting(time.Hour)))(f)
		if got := aws.ToString(created.SourceIdentity); got != "someone" {
			f.Errorf("5.5: source identity %q does not persist", got)
		}

		two := f.credentials(created.Credentials)
		_, err = ssm.NewFromConfig(two).PutParameter(f.Context(), &ssm.PutParameterInput{
			Name: aws.String("p"), Value: aws.String("v"), Type: "String",
		})

		requireOutput(1, err)(f)
		// Policies can check the tags of the session.
		for condition, allowed := range map[string]bool{
			`"StringEquals":{"aws:PrincipalTag/team":"golden"}`: true,
			`"StringEquals":{"aws:PrincipalTag/here":"only"}`:   false,
			`"StringEquals":{"aws:SourceIdentity":"someone"}`:   true,
		} {
			requireOutput(f.iam(member).PutRolePolicy(f.Context(),
				&iam.PutRolePolicyInput{
					RoleName: aws.String("second"), PolicyName: aws.String("own"),
					PolicyDocument: newPolicy(`{"Effect":"Allow","Action":"ssm:GetParameter","Resource":"*","Condition":{` +
						condition +
						`}}`),
				}))(f)

			_, err := ssm.NewFromConfig(two).GetParameter(f.Context(), &ssm.GetParameterInput{Name: aws.String("p")})
			if (err == nil) != allowed {
				f.Errorf("%s: %v", condition, err)
			}
		}
	})
}

// TestAssumeRole_sessionPolicyOnlyLimits covers rules 6.2 and A.4.11. A call that policies do not allow fails with
// an error that names the action, dry run or not. An authorization error names the type of the policy that denied
// it.
func TestAssumeRole_sessionPolicyOnlyLimits(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role := f.createRole(
			owner, "target", trustStatement(rootOf(owner), `"sts:*"`),
			allowStatement(`"ec2:DescribeRegions","ec2:DescribeImages"`),
		)

		managed := requireOutput(f.iam(owner).CreatePolicy(f.Context(), &iam.CreatePolicyInput{
			PolicyName: aws.String("images"), PolicyDocument: newPolicy(allowStatement(
				`"ec2:DescribeImages","ec2:DescribeVpcs"`,
			)),
		}))(f)

		limited := ec2.NewFromConfig(f.sessionCredentials(role, func(in *sts.AssumeRoleInput) {
			in.PolicyArns = []ststypes.PolicyDescriptorType{{Arn: managed.Policy.Arn}}
		}))

		_, err := limited.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
		// rule A.4.11: an authorization error names the type of the policy that denied it
		requireErrorMessage(
			f, err, "UnauthorizedOperation", "because no session policy allows the ec2:DescribeRegions action",
		)

		_, err = limited.DescribeVpcs(f.Context(), &ec2.DescribeVpcsInput{})
		requireErrorMessage(
			f, err, "UnauthorizedOperation", "because no identity-based policy allows the ec2:DescribeVpcs action",
		)

		requireOutput(limited.DescribeImages(f.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(f)
		both := ec2.NewFromConfig(f.sessionCredentials(role, func(in *sts.AssumeRoleInput) {
			in.PolicyArns = []ststypes.PolicyDescriptorType{{Arn: managed.Policy.Arn}}
			in.Policy = newPolicy(allowStatement(`"ec2:DescribeRegions"`))
		}))

		requireOutput(both.DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{}))(f)
	})
}

// TestSession_expired covers rule 5.4. Each service has its own error for an expired session.
func TestSession_expired(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		config := f.sessionCredentials(
			f.createRole(owner, "target", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"*"`)),
			lasting(15*time.Minute),
		)

		call := map[string]func() error{
			"RequestExpired": func() error { // 5.4
				_, err := ec2.NewFromConfig(config).DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
				return err
			},
			"ExpiredToken": func() error {
				_, err := sts.NewFromConfig(config).GetCallerIdentity(f.Context(), &sts.GetCallerIdentityInput{})
				return err
			},
			"ExpiredTokenException": func() error {
				_, err := kms.NewFromConfig(config).ListKeys(f.Context(), &kms.ListKeysInput{})
				return err
			},
		}

		time.Sleep(14 * time.Minute)
		for code, request := range call {
			if err := request(); err != nil {
				f.Errorf("%s after 14 minutes: %v", code, err)
			}
		}

		time.Sleep(time.Minute)
		for code, request := range call {
			requireErrorCode(f, request(), code)
		}
	})
}

// TestGetCallerIdentity_principals covers rule 5.9. GetCallerIdentity needs no permission.
func TestGetCallerIdentity_principals(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role := f.createRole(member, "target", trustStatement(rootOf(member), `"sts:*"`))
		user := f.createUser(owner, "somebody") // rule 5.9: needs no permission
		for arn, row := range map[string]struct {
			config aws.Config
			id     string
		}{
			rootOf(owner): {f.world.Config(owner, home), owner},
			"arn:aws:iam::" + owner + ":user/somebody":                {user, "AIDA"},
			"arn:aws:sts::" + member + ":assumed-role/target/session": {f.sessionCredentials(role), "AROA"},
			"arn:aws:iam::" + owner + ":user/somebody#GetSessionToken": {
				f.credentials(requireOutput(sts.NewFromConfig(user).GetSessionToken(
					f.Context(), &sts.GetSessionTokenInput{},
				))(f).Credentials),
				"AIDA",
			},
		} {
			got := requireOutput(sts.NewFromConfig(row.config).GetCallerIdentity(f.Context(), &sts.GetCallerIdentityInput{}))(f)
			arn, _, _ = strings.Cut(arn, "#")
			if *got.Arn != arn || *got.Account != strings.Split(arn, ":")[4] || !strings.HasPrefix(*got.UserId, row.id) {
				f.Errorf("5.9: %s is %s, %s, %s", arn, *got.Arn, *got.Account, *got.UserId)
			}
		}
	})
}

func TestCredentials_unknown(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		for _, config := range map[string]aws.Config{
			"unknown key": f.withCredentials("AKIAAAAAAAAAAAAAAAAA", "secret", ""),
			"wrong token": func() aws.Config {
				config := f.sessionCredentials(f.createRole(owner, "target", trustStatement(rootOf(owner), `"sts:*"`)))
				got := requireOutput(config.Credentials.Retrieve(f.Context()))(f)
				return f.withCredentials(got.AccessKeyID, got.SecretAccessKey, "other")
			}(),
			"another partition's account": func() aws.Config {
				config := f.world.Config("222222222222", "cn-north-1")
				requireOutput(sts.NewFromConfig(config).GetCallerIdentity(f.Context(), &sts.GetCallerIdentityInput{}))(f)
				return f.world.Config("222222222222", home)
			}(),
		} {
			_, err := ec2.NewFromConfig(config).DescribeRegions(f.Context(), &ec2.DescribeRegionsInput{})
			requireErrorCode(f, err, "AuthFailure")
			_, err = sts.NewFromConfig(config).GetCallerIdentity(f.Context(), &sts.GetCallerIdentityInput{})
			requireErrorCode(f, err, "InvalidClientTokenId")
			_, err = kms.NewFromConfig(config).ListKeys(f.Context(), &kms.ListKeysInput{})
			requireErrorCode(f, err, "UnrecognizedClientException")
		}
	})
}

// TestRegion_optInPerAccount covers rule 5.8. Each account must enable an opt-in Region.
func TestRegion_optInPerAccount(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		const region = "eu-south-1"
		look := func(account string) error {
			_, err := ec2.NewFromConfig(f.world.Config(account, region)).DescribeImages(
				f.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}},
			)
			return err
		}

		requireErrorCode(f, look(owner), "AuthFailure") // 5.8
		_, err := sts.NewFromConfig(f.world.Config(owner, region)).GetCallerIdentity(
			f.Context(), &sts.GetCallerIdentityInput{},
		)

		requireErrorCode(f, err, "RegionDisabledException") // 5.6
		f.world.EnableRegion(owner, region)
		if err := look(owner); err != nil {
			f.Errorf("enabled: %v", err)
		}

		requireErrorCode(f, look(member), "AuthFailure")
	})
}

func TestSeed_repeatsIDs(t *testing.T) {
	var ids [2]string
	for i := range ids {
		runWithFixture(t, func(f fixture) {
			role := f.createRole(owner, "target", trustStatement(rootOf(owner), `"sts:*"`))
			caller := f.createUser(owner, "caller", allowStatement(`"sts:*"`))
			for range 2 {
				ids[i] += *requireOutput(f.assumeRole(caller, role))(f).Credentials.AccessKeyId + f.createKey()
			}
		})
	}

	if ids[0] != ids[1] {
		t.Errorf("%s\n%s", ids[0], ids[1])
	}
}

func ec2Of(config aws.Config) *ec2.Client { return ec2.NewFromConfig(config, withoutEC2Retries) }
