// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package preflight

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/optioncoverage"
)

// pairs, blocks and list are options as Packer passes them: maps and blocks, and lists.
type (
	pairs = map[string]any
	list  = []any
)

const (
	management  = "000000000001"
	other       = "888888888888"
	bare        = "777777777777" // an account without a role
	nothingMade = "no effect in a preflight, which creates nothing"
)

// on executes a template on a new stage.
func on(template func(*stage) pairs) func(*testing.T, func(pairs)) optioncoverage.Outcome {
	return func(t *testing.T, change func(pairs)) (outcome optioncoverage.Outcome) {
		onStage(t, func(s *stage) {
			o := template(s)
			change(o)
			watch := optioncoverage.NewCallRecorder(s.World)
			d := &Datasource{client: watch, seed: 1}
			if outcome.Err = d.Configure(o); outcome.Err != nil {
				return
			}
			value, err := d.Execute()
			outcome.Err, outcome.Seen = err, watch.Seen()
			if err != nil {
				return
			}
			found := value.AsValueMap()
			outcome.PassedOn = []string{found["targets_json"].AsString()}
			delete(found, "targets_json")
			for name, value := range found {
				for line := range strings.Lines(plain(value)) {
					outcome.Seen = append(outcome.Seen, name+": "+strings.TrimSpace(line))
				}
			}
		})
		return outcome
	}
}

// fixtures creates resources on the stage.
func (s *stage) fixtures() optioncoverage.Fixtures {
	return optioncoverage.Fixtures{T: s.T, World: s.World, Region: tokyo}
}

// with returns a template whose target has additional options, and a role with all permissions. There are further keys:
// alias/second of the source and of the target, and alias/golden of both in another Region.
func (s *stage) with(more pairs) pairs {
	f := s.fixtures()
	for _, account := range []string{source, prod} {
		f.Key(account, tokyo, "alias/second", source, prod)
		f.Key(account, "us-west-2", "alias/golden", source, prod)
	}
	f.Roles(source, prod, other)
	o := s.options()
	o["image_family"] = "web"
	t := o["target"].(list)[0].(pairs)
	t["assume_role"] = list{pairs{"role_name": "plain"}}
	maps.Copy(t, more)
	return o
}

// built returns a template whose build has other or additional options.
func (s *stage) built(more pairs) pairs {
	o := s.with(nil)
	if more["source_ami"] != nil {
		o["amazon_ebs"] = pairs{"region": tokyo}
	}
	maps.Copy(o["amazon_ebs"].(pairs), more)
	return o
}

func aBuild(s *stage) pairs { return s.with(nil) }

// anotherRegion returns a template with two accounts in a Region without a source image. They can copy the image of the
// build directly.
func anotherRegion(s *stage) pairs {
	s.fixtures().Key(other, "us-west-2", "alias/golden", source, other)
	s.fixtures().Key(source, "us-west-2", "alias/west", source, prod, other)
	o := s.with(pairs{"account_ids": list{prod, other}, "regions": list{"us-west-2"}})
	o["region_kms_key_ids"] = pairs{"us-west-2": "alias/west"}
	o["amazon_ebs"].(pairs)["launch_block_device_mappings"] = list{
		pairs{"device_name": "/dev/xvda", "encrypted": true, "kms_key_id": "alias/golden"},
	}
	return o
}

// aSourceRetention returns a template with a block that has no effect in a preflight.
func aSourceRetention(s *stage) pairs {
	o := s.with(nil)
	o["image_family"], o["source_retention"] = "web", pairs{"keep_releases": 1}
	return o
}

func aSession(s *stage) pairs {
	o := s.options()
	maps.Copy(o, s.fixtures().Session(source, o["access_key"].(string), o["secret_key"].(string)))
	return o
}

func aCredentialsFile(s *stage) pairs {
	f := s.fixtures()
	f.Roles(source, other)
	o := s.options()
	o["shared_credentials_file"] = f.Profiles(o["access_key"].(string), o["secret_key"].(string), source, prod, other)
	delete(o, "access_key")
	delete(o, "secret_key")
	o["target"] = list{pairs{"account_ids": list{prod}, "kms_key_id": "alias/golden", "profile": prod}}
	o["share"] = list{
		pairs{
			"account_ids": list{other},
			"profile":     other,
			"kms_grant":   list{pairs{"grantee_principal": "arn:aws:iam::" + other + ":role/plain"}},
		},
	}
	return o
}

// roles returns a template with an assume_role block everywhere, each with all options.
func roles(s *stage) pairs {
	root := s.organize(prod)
	s.fixtures().Roles(source, source, management, prod, other)
	o := s.options()
	o["assume_role"] = optioncoverage.AssumeRoleBlock(source)
	o["organizations_role"] = optioncoverage.AssumeRoleBlock(management)
	o["target"] = list{
		pairs{
			"organizational_unit_ids": list{root},
			"exclude_account_ids":     list{management},
			"kms_key_id":              "alias/golden",
			"assume_role":             list{optioncoverage.AssumeRoleBlock(prod)},
		},
	}
	o["share"] = list{
		pairs{
			"account_ids": list{other},
			"assume_role": list{optioncoverage.AssumeRoleBlock(other)},
			"kms_grant":   list{pairs{"grantee_principal": "arn:aws:iam::" + other + ":role/plain"}},
		},
	}
	return o
}

// anOrganization returns a template for an organization with an account without the role.
func anOrganization(s *stage) pairs {
	f, root := s.fixtures(), s.organize(prod, bare)
	f.Roles(source, management)
	f.Key(management, tokyo, "alias/golden", management)
	s.sourceKey(`{
			"Effect":"Allow",
			"Principal":{"AWS":["arn:aws:iam::` + prod + `:root","arn:aws:iam::` + management + `:root"]},
			"Action":"kms:*",
			"Resource":"*"
		}`)
	o := s.with(pairs{"organizational_unit_ids": list{root}, "on_missing_role": "skip"})
	o["organizations_role"] = pairs{"role_arn": "arn:aws:iam::" + management + ":role/plain"}
	return o
}

// oneOfTwo returns a template in which one target names a key that does not exist.
func oneOfTwo(s *stage) pairs {
	o := s.with(pairs{"kms_key_id": "alias/missing"})
	o["target"] = append(
		o["target"].(list),
		pairs{"name": "lab", "account_ids": list{source}, "kms_key_id": "alias/golden"},
	)
	return o
}

func unencrypted(s *stage) pairs {
	_, err := ec2.NewFromConfig(s.Config(source, tokyo)).
		DisableEbsEncryptionByDefault(s.Context(), &ec2.DisableEbsEncryptionByDefaultInput{})
	s.must(err)
	o := s.with(nil)
	delete(o, "kms_key_id")
	return o
}

func encryptBoot(s *stage) pairs {
	return s.built(pairs{
		"encrypt_boot":       true,
		"ami_regions":        list{"us-west-2"},
		"kms_key_id":         "alias/second",
		"region_kms_key_ids": pairs{"us-west-2": "alias/golden"},
	})
}

func launchVolumes(s *stage) pairs {
	return s.built(pairs{
		"launch_block_device_mappings": list{
			pairs{
				"device_name": "/dev/xvda",
				"encrypted":   true,
				"kms_key_id":  "alias/second",
				"snapshot_id": s.fixtures().Snapshot(source, ""),
			},
		},
	})
}

func aSourceAMI(s *stage) pairs { return s.built(pairs{"source_ami": s.base}) }

// severalSourceAMIs returns a template with the source AMIs base-1, base-2, which is newer and has another name, and
// base-3, which is deprecated.
func severalSourceAMIs(s *stage) pairs {
	f := s.fixtures()
	f.Image(source, "base-2", f.Snapshot(source, ""))
	f.Deprecated(source, f.Image(source, "base-3", f.Snapshot(source, "")), time.Hour)
	time.Sleep(2 * time.Hour)
	f.Image(source, "another", f.Snapshot(source, ""))
	return s.with(nil)
}

func aCopiedSourceAMI(s *stage) pairs {
	return s.built(pairs{"source_ami": s.fixtures().Copied(source, s.base)})
}

func protectedTarget(s *stage) pairs { return s.with(pairs{"deregistration_protection": pairs{}}) }

func olderReleases(s *stage) pairs { return s.with(pairs{"retention": pairs{"keep_releases": 1}}) }

// windows returns a template that builds from a Windows image of AWS. The target enables fast launch, with a launch
// template that an option names. The option is empty for none.
func windows(option string) func(*stage) pairs {
	return func(s *stage) pairs {
		f := s.fixtures()
		o := s.built(pairs{"source_ami": f.Windows(source)})
		o["target"].(list)[0].(pairs)["fast_launch"] = optioncoverage.FastLaunchBlock(option, f.LaunchTemplate(prod))
		return o
	}
}

// aSharedSecret returns a template that writes the ID of the shared image to a SecureString.
func aSharedSecret(s *stage) pairs {
	o := s.with(nil)
	secret := pairs{"name": "/golden", "type": "SecureString", "key_id": "alias/golden"}
	o["share"] = list{pairs{"account_ids": list{other}, "ssm_parameter": list{secret}}}
	return o
}

func aParameter(s *stage) pairs {
	return s.with(pairs{"ssm_parameter": list{pairs{"name": "/golden"}}})
}
