// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/limitsamples"
)

// plannedOnly are the subjects that no option sets. The plan checks them.
var plannedOnly = map[awslimits.Subject]bool{
	awslimits.UEFIData:     true,
	awslimits.SnapshotText: true,
	awslimits.CopyToken:    true,
	awslimits.LaunchToken:  true,
	awslimits.ShareBatch:   true,
}

// roleLines returns a target whose assume_role block has these lines.
func roleLines(lines string) string {
	return strings.Replace(prod, `assume_role { role_name = "golden-image-target" }`, "assume_role {\n"+lines+"\n}", 1)
}

func targetRole(line string) string {
	return roleLines("role_arn = \"arn:aws:iam::999999999999:role/golden-image-target\"\n" + line)
}

// withValue returns templates by subject in which only that subject has a limited value.
var withValue = map[awslimits.Subject]func(value string) string{
	awslimits.AccountID: func(v string) string {
		return fmt.Sprintf(
			"target {\naccount_ids = [%q]\nassume_role {\nrole_name = \"r\"\n}\nkms_key_id = \"default\"\n}",
			v,
		)
	},
	awslimits.Region: func(v string) string { return target(fmt.Sprintf("regions = [%q]", v)) },
	awslimits.RootOrUnitID: func(v string) string {
		return target(fmt.Sprintf("organizational_unit_ids = [%q]", v))
	},
	awslimits.OrganizationARN:       func(v string) string { return target(fmt.Sprintf("ami_org_arns = [%q]", v)) },
	awslimits.OrganizationalUnitARN: func(v string) string { return target(fmt.Sprintf("ami_ou_arns = [%q]", v)) },
	awslimits.RoleARN:               func(v string) string { return roleLines(fmt.Sprintf("role_arn = %q", v)) },
	awslimits.RoleName: func(v string) string {
		return roleLines(fmt.Sprintf("role_arn = %q", "arn:aws:iam::999999999999:role/ci/"+v))
	},
	awslimits.RolePath: func(v string) string {
		return strings.Replace(prod, `"golden-image-target"`, fmt.Sprintf("%q", v+"golden"), 1)
	},
	awslimits.RoleSessionName: func(v string) string { return targetRole(fmt.Sprintf("session_name = %q", v)) },
	awslimits.ExternalID:      func(v string) string { return targetRole(fmt.Sprintf("external_id = %q", v)) },
	awslimits.SourceIdentity:  func(v string) string { return targetRole(fmt.Sprintf("source_identity = %q", v)) },
	awslimits.SessionPolicy: func(v string) string {
		if !strings.HasPrefix(v, `"`) && !strings.HasPrefix(v, "{") {
			v = strings.Repeat("1", len(v)) // JSON of any length
		}
		return targetRole(fmt.Sprintf("policy = %q", v))
	},
	awslimits.SessionPolicyARN: func(v string) string { return targetRole(fmt.Sprintf("policy_arns = [%q]", v)) },
	awslimits.SessionTagKey:    func(v string) string { return targetRole(fmt.Sprintf("tags = { %q = \"os\" }", v)) },
	awslimits.SessionTagValue:  func(v string) string { return targetRole(fmt.Sprintf("tags = { team = %q }", v)) },

	awslimits.KeyID:     key,
	awslimits.KeyAlias:  key,
	awslimits.GrantName: func(v string) string { return target(fmt.Sprintf("kms_grant {\nname = %q\n}", v)) },
	awslimits.Grantee: func(v string) string {
		return target(fmt.Sprintf("kms_grant {\ngrantee_principal = %q\n}", v))
	},
	awslimits.GrantOperation: func(v string) string { return target(fmt.Sprintf("kms_grant {\noperations = [%q]\n}", v)) },

	awslimits.ImageID: func(v string) string {
		return prod + fmt.Sprintf("\nexisting_amis = { eu-west-1 = %q }", v)
	},
	awslimits.ImageName:   func(v string) string { return target(fmt.Sprintf("ami_name = %q", v)) },
	awslimits.Description: func(v string) string { return target(fmt.Sprintf("ami_description = %q", v)) },
	awslimits.TagKey:      func(v string) string { return target(fmt.Sprintf("tags = { %q = \"os\" }", v)) },
	awslimits.TagValue:    func(v string) string { return target(fmt.Sprintf("snapshot_tags = { team = %q }", v)) },
	awslimits.LicenseARN: func(v string) string {
		return target(fmt.Sprintf("license_configuration_arns = [%q]", v))
	},
	awslimits.WatermarkName: func(v string) string { return target(fmt.Sprintf("watermarks = [%q]", v)) },

	awslimits.FilterName:  func(v string) string { return filters(fmt.Sprintf("%q = \"x\"", v)) },
	awslimits.FilterValue: func(v string) string { return filters(fmt.Sprintf("name = %q", v)) },

	awslimits.InstanceType: func(v string) string {
		return target(fmt.Sprintf("launch_check {\ninstance_type = %q\n}", v))
	},
	awslimits.SubnetID: func(v string) string { return launchCheck(fmt.Sprintf("subnet_id = %q", v)) },
	awslimits.TemplateID: func(v string) string {
		return target(fmt.Sprintf("fast_launch {\ntemplate_id = %q\ntemplate_version = 1\n}", v))
	},
	awslimits.TemplateName: func(v string) string {
		return target(fmt.Sprintf("launch_template {\nname = %q\n}", v))
	},
	awslimits.TemplateVersion:    func(v string) string { return template(fmt.Sprintf("source_version = %q", v)) },
	awslimits.VersionDescription: func(v string) string { return template(fmt.Sprintf("description = %q", v)) },

	awslimits.ParameterName: func(v string) string {
		return target(fmt.Sprintf("ssm_parameter {\nname = %q\n}", v))
	},
	awslimits.ParameterType:        func(v string) string { return parameter(fmt.Sprintf("type = %q", v)) },
	awslimits.ParameterDataType:    func(v string) string { return parameter(fmt.Sprintf("data_type = %q", v)) },
	awslimits.ParameterTier:        func(v string) string { return parameter(fmt.Sprintf("tier = %q", v)) },
	awslimits.ParameterDescription: func(v string) string { return parameter(fmt.Sprintf("description = %q", v)) },
	awslimits.ParameterKeyID: func(v string) string {
		return parameter(fmt.Sprintf("type = \"SecureString\"\nkey_id = %q", v))
	},
	awslimits.ParameterTagKey:   func(v string) string { return parameter(fmt.Sprintf("tags = { %q = \"os\" }", v)) },
	awslimits.ParameterTagValue: func(v string) string { return parameter(fmt.Sprintf("tags = { team = %q }", v)) },
}

// withNumber returns templates by subject with a number, or with a list of a length.
var withNumber = map[awslimits.Subject]func(n int) string{
	awslimits.SessionDuration: func(n int) string {
		return "assume_role {\n" + role + fmt.Sprintf("duration_seconds = %d\n}", n) + prod
	},
	awslimits.ChainedSessionDuration: func(n int) string {
		line := fmt.Sprintf(
			"}\nassume_role {\nrole_arn = \"arn:aws:iam::999999999999:role/second\"\nduration_seconds = %d",
			n,
		)
		return targetRole(line)
	},
	awslimits.SessionPolicyARNs: func(n int) string {
		return targetRole(
			"policy_arns = " + list(n, func(i int) string { return fmt.Sprintf("arn:aws:iam::aws:policy/P%d", i) }),
		)
	},
	awslimits.SessionTags: func(n int) string { return targetRole("tags = " + tags(n)) },
	awslimits.TransitiveTagKeys: func(n int) string {
		return targetRole("transitive_tag_keys = " + list(n, func(i int) string { return fmt.Sprintf("key%d", i) }))
	},
	awslimits.CopyMinutes: func(n int) string {
		return target(fmt.Sprintf("snapshot_copy_duration_minutes = %d", n))
	},
	awslimits.InitializationRate: func(n int) string {
		return target(fmt.Sprintf("volume_initialization_rate = %d", n))
	},
	awslimits.Watermarks: func(n int) string {
		return target("watermarks = " + list(n, func(i int) string { return fmt.Sprintf("watermark %d", i) }))
	},
	awslimits.Tags: func(n int) string { return target("tags = " + tags(n-provenance.OwnTags)) },
	awslimits.ImageShares: func(n int) string {
		return target("ami_users = " + list(n, func(i int) string { return fmt.Sprintf("%012d", i+1) }))
	},
	awslimits.FilterNames: func(n int) string {
		var lines []string
		for i := range n {
			lines = append(lines, fmt.Sprintf("\"tag:%d\" = \"x\"", i))
		}
		return filters(strings.Join(lines, ", "))
	},
	awslimits.FastLaunchVersion: func(n int) string {
		return target(fmt.Sprintf("fast_launch {\ntemplate_name = \"windows\"\ntemplate_version = %d\n}", n))
	},
	awslimits.ParallelLaunches: func(n int) string {
		return target(fmt.Sprintf("fast_launch {\nmax_parallel_launches = %d\n}", n))
	},
	awslimits.ParameterLevels: func(n int) string {
		return target(fmt.Sprintf("ssm_parameter {\nname = %q\n}", strings.Repeat("/a", n)))
	},
	awslimits.ParameterTags: func(n int) string { return parameter("tags = " + tags(n)) },
}

// filtersMark begins a template of the data source.
const filtersMark = "# preflight\n"

func filters(lines string) string {
	return filtersMark + prod + "\namazon_ebs {\nregion = \"eu-west-1\"\nsource_ami_filter {\nowners = " +
		"[\"self\"]\nfilters = { " + lines + " }\n}\n}"
}

func key(value string) string {
	return strings.Replace(prod, `"alias/golden-target"`, fmt.Sprintf("%q", value), 1)
}

func list(n int, element func(int) string) string {
	quoted := make([]string, n)
	for i := range n {
		quoted[i] = fmt.Sprintf("%q", element(i))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func tags(n int) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "key%d = \"x\"\n", i)
	}
	return "{\n" + all.String() + "}"
}

// Each limit of the table that an option can exceed is checked when the template is validated.
func TestPrepare_atAndBeyondEachLimit(t *testing.T) {
	for _, limit := range awslimits.Table {
		name := strings.TrimSpace(fmt.Sprintf("%s: %s", limit.Subject, limit.Kind))
		if limit.Kind == awslimits.Prefix {
			name += " " + limit.Words
		}
		if plannedOnly[limit.Subject] {
			continue
		}
		t.Run(name, func(t *testing.T) {
			within, beyond := bodies(t, limit)
			if err := validationError(t, within); err != nil {
				t.Errorf("at the limit: got %v\n%s", err, within)
			}
			if err := validationError(t, beyond); err == nil && beyond != "" {
				t.Errorf("beyond the limit: got no error\n%s", beyond)
			}
		})
	}
}

// validationError returns the error that Packer shows for a template. Nil if the template is valid.
func validationError(t *testing.T, body string) error {
	t.Helper()
	if rest, ok := strings.CutPrefix(body, filtersMark); ok {
		_, err := preflight(t, rest)
		return err
	}
	_, err := prepare(t, body, nil)
	return err
}

// bodies returns a template at a limit and one beyond it.
func bodies(t *testing.T, limit awslimits.Limit) (within, beyond string) {
	t.Helper()
	if limit.Kind == awslimits.Combination {
		return combinations(t, limit)
	}
	if limit.Subject == awslimits.DeprecationTime {
		return deprecations(limit)
	}
	if lower, upper, ok := limitsamples.Numbers(limit); ok {
		body := withNumber[limit.Subject]
		if body == nil {
			t.Fatal("no option")
		}
		return body(lower), body(upper)
	}
	body := withValue[limit.Subject]
	if body == nil {
		t.Fatal("no option")
	}
	in, out, _ := limitsamples.Texts(limit)
	if out == "" && limit.Subject != awslimits.RoleName && !strings.HasSuffix(string(limit.Subject), "tag key") {
		return body(in), "" // beyond the limit is an empty text, which counts as an option that is not set
	}
	return body(in), body(out)
}

func deprecations(limit awslimits.Limit) (within, beyond string) {
	at := func(when time.Time) string {
		return target(fmt.Sprintf("deprecate_at = %q", when.Format(time.RFC3339)))
	}
	if limit.Kind == awslimits.Future {
		return at(now.Add(time.Minute)), at(now)
	}
	return at(now.AddDate(limit.Number, 0, 0)), at(now.AddDate(limit.Number, 0, 0).Add(time.Minute))
}

func combinations(t *testing.T, limit awslimits.Limit) (within, beyond string) {
	t.Helper()
	switch limit.Subject {
	case awslimits.SessionPolicy:
		return targetRole("policy = \"{}\""), targetRole(fmt.Sprintf("policy = %q", limit.Refused))
	case awslimits.SessionPolicies:
		both := func(n int) string {
			arn := limitsamples.Typical(awslimits.SessionPolicyARN)
			return targetRole(fmt.Sprintf("policy = %q\npolicy_arns = [%q]", strings.Repeat("1", n-len(arn)), arn))
		}
		return both(limit.Number), both(limit.Number + 1)
	case awslimits.SessionTags:
		return targetRole("tags = { Department = \"x\" }"),
			targetRole(fmt.Sprintf("tags = { Department = \"x\", %s = \"x\" }", limit.Refused))
	case awslimits.ParameterNameAndARN:
		name := func(n int) string {
			return withValue[awslimits.ParameterName](
				"/" + strings.Repeat("a", n-len("arn:aws:ssm:us-east-1:123456789012:parameter/")),
			)
		}
		return name(limit.Number), name(limit.Number + 1)
	case awslimits.ParameterDataAndType:
		return parameter(fmt.Sprintf("data_type = %q", limit.Refused)),
			parameter(fmt.Sprintf("type = \"SecureString\"\ndata_type = %q", limit.Refused))
	}
	t.Fatal("no options")
	return "", ""
}
