// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/e2e"
)

// joined is an account that joins the unit later.
const joined = "888888888888"

// runner runs the shell steps of the workflows in example/, with packer and the simulated AWS.
type runner struct{ e2e.Host }

// newRunner returns a runner. The simulated AWS runs at a multiple of real time.
func newRunner(t *testing.T, speed string) runner {
	t.Helper()
	h := newPackerHost(t)
	var err error
	if h.World, err = h.Parts.StartWorld("-world", "demo", "-speed", speed); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.World.Stop(); err != nil {
			t.Error(err)
		}
	})
	h.User = must(h.World.AccessKey(t.Context(), source, "builder"))(t)
	path := commands(t, false)
	if err := os.Symlink(h.Packer, filepath.Join(path, "packer")); err != nil {
		t.Fatal(err)
	}
	h.Env = []string{
		"PATH=" + path + ":" + os.Getenv("PATH"),
		"PKR_VAR_external_id=golden-images-4711",
		"PKR_VAR_poll_interval=1s",
	}
	return runner{h}
}

var (
	jobs  = regexp.MustCompile(`(?m)^  ([a-z]+):\n((?:    .*\n|\n)*)`)
	steps = regexp.MustCompile(`(?m)^      - run: (.*)$`)
)

// jobCommands returns the commands of a job. It excludes the steps that run always, which write the summary.
func jobCommands(t *testing.T, workflow, job string) []string {
	t.Helper()
	_, text, _ := strings.Cut(read(t, root+"/"+workflow), "\njobs:\n")
	for _, found := range jobs.FindAllStringSubmatch(text, -1) {
		if found[1] != job {
			continue
		}
		var all []string
		for _, step := range steps.FindAllStringSubmatch(found[2], -1) {
			all = append(all, step[1])
		}
		if len(all) > 0 {
			return all
		}
	}
	t.Fatalf("%s has no job %s with commands", workflow, job)
	return nil
}

// do runs the commands of a job in a folder until one fails. It returns the output.
func (r runner) do(t *testing.T, folder, workflow, job string) (string, error) {
	t.Helper()
	var output strings.Builder
	for _, command := range jobCommands(t, workflow, job) {
		r.Folder = folder
		step := r.Command(t.Context())
		step.Path, step.Args = "/bin/sh", []string{"/bin/sh", "-e", "-c", command}
		text, err := step.CombinedOutput()
		fmt.Fprintf(&output, "$ %s\n%s", command, text)
		if err != nil {
			return output.String(), err
		}
	}
	return output.String(), nil
}

// checkout returns a folder with the template of an example.
func checkout(t *testing.T, example string) string {
	t.Helper()
	folder := t.TempDir()
	text := read(t, root+"/example/"+example+"/template.pkr.hcl")
	if err := os.WriteFile(filepath.Join(folder, "template.pkr.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// A run that ends before its copies do is continued on another runner, which has only the uploaded files. Then the
// account has its AMI, and the parameter names the source AMI.
func TestOrganizationWorkflow_continuesOnAnotherRunner(t *testing.T) {
	t.Parallel()
	const workflow = "example/organization/workflow.yml"
	r := newRunner(t, "20")
	const timeout = "PKR_VAR_timeout=8s" // the copies need 11 s
	r.Env = append(r.Env, "PKR_VAR_organizational_unit_id="+r.unit(t, target), timeout)
	folder := checkout(t, "organization")
	output, err := r.do(t, folder, workflow, "build")
	if err == nil || !strings.Contains(output, "Resume:") {
		t.Fatalf("got %v, want a run that ends before its copies:\n%s", err, output)
	}
	if images := r.images(t, target); len(images) > 0 {
		t.Fatalf("the account has %d AMIs already", len(images))
	}

	for range 8 { // each runner has the same short timeout as the first
		next := t.TempDir()
		artifact := os.DirFS(filepath.Join(folder, "encrypted-ami"))
		if err := os.CopyFS(filepath.Join(next, "encrypted-ami"), artifact); err != nil {
			t.Fatal(err)
		}
		folder = next
		if output, err = r.do(t, folder, workflow, "continue"); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("%v:\n%s", err, output)
	}
	images := r.images(t, target)
	if len(images) != 1 || images[0].State != ec2types.ImageStateAvailable {
		t.Errorf("the account has %d AMIs", len(images))
	}
	r.checkParameter(t, folder)
}

// checkParameter waits until the parameter is visible, and checks that it names the AMI of the output directory.
func (r runner) checkParameter(t *testing.T, folder string) {
	t.Helper()
	client, named := ssm.NewFromConfig(r.World.Config(source, region)), ""
	eventually(t, func(ctx context.Context) bool {
		stored, err := client.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/golden/source-ami")})
		if err == nil {
			named = *stored.Parameter.Value
		}
		return err == nil
	})
	if _, err := os.Stat(filepath.Join(folder, "encrypted-ami", named)); err != nil {
		t.Errorf("the parameter names %s: %v", named, err)
	}
}

// An account that joins the unit gets the current AMI by the next scheduled run. The AMIs of the others stay.
func TestNewAccountsWorkflow_servesJoinedAccount(t *testing.T) {
	t.Parallel()
	r := newRunner(t, "600")
	r.Env = append(r.Env, "PKR_VAR_organizational_unit_id="+r.unit(t, target))
	must(ssm.NewFromConfig(r.World.Config(source, region)).PutParameter(t.Context(), &ssm.PutParameterInput{
		Name:     aws.String("/golden/source-ami"),
		Value:    r.images(t, source)[0].ImageId,
		Type:     "String",
		DataType: aws.String("aws:ec2:image"),
	}))(t)
	serve := func() {
		t.Helper()
		output, err := r.do(t, checkout(t, "new-accounts"), "example/new-accounts/workflow.yml", "distribute")
		if err != nil {
			t.Fatalf("%v:\n%s", err, output)
		}
	}

	serve()
	before := r.images(t, target)
	r.prepareJoined(t)
	serve()
	after, images := r.images(t, target), r.images(t, joined)
	if len(before) != 1 || len(after) != 1 || *before[0].ImageId != *after[0].ImageId {
		t.Errorf("the first account had %d AMIs, and has %d", len(before), len(after))
	}
	if len(images) != 1 {
		t.Errorf("the account that joined has %d AMIs, want 1", len(images))
	}
}

// images returns the images that an account owns.
func (r runner) images(t *testing.T, account string) []ec2types.Image {
	t.Helper()
	return must(ec2.NewFromConfig(r.World.Config(account, region)).
		DescribeImages(t.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}}))(t).Images
}

// unit creates an organization of the source account with an account in a unit, and returns the ID of the unit. The
// builder may read both and write the parameter.
func (r runner) unit(t *testing.T, account string) string {
	t.Helper()
	management := organizations.NewFromConfig(r.World.Config(source, "us-east-1"))
	must(management.CreateOrganization(
		t.Context(),
		&organizations.CreateOrganizationInput{FeatureSet: orgtypes.OrganizationFeatureSetAll},
	))(t)
	top := must(management.ListRoots(t.Context(), &organizations.ListRootsInput{}))(t).Roots[0].Id
	unit := must(management.CreateOrganizationalUnit(
		t.Context(),
		&organizations.CreateOrganizationalUnitInput{ParentId: top, Name: aws.String("workloads")},
	))(t).OrganizationalUnit.Id
	r.join(t, account, *top, *unit)
	must(iam.NewFromConfig(r.World.Config(source, region)).PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
		UserName:   aws.String("builder"),
		PolicyName: aws.String("workflow"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["organizations:List*",` +
			`"sts:AssumeRole","ssm:GetParameter","ssm:PutParameter"],"Resource":"*"}]}`),
	}))(t)
	return *unit
}

// join moves an account to a unit of the organization.
func (r runner) join(t *testing.T, account, top, unit string) {
	t.Helper()
	management := organizations.NewFromConfig(r.World.Config(source, "us-east-1"))
	invited := must(management.InviteAccountToOrganization(t.Context(), &organizations.InviteAccountToOrganizationInput{
		Target: &orgtypes.HandshakeParty{Id: &account, Type: orgtypes.HandshakePartyTypeAccount},
	}))(t)
	must(organizations.NewFromConfig(r.World.Config(account, "us-east-1")).
		AcceptHandshake(t.Context(), &organizations.AcceptHandshakeInput{HandshakeId: invited.Handshake.Id}))(t)
	must(management.MoveAccount(t.Context(), &organizations.MoveAccountInput{
		AccountId: &account, SourceParentId: &top, DestinationParentId: &unit,
	}))(t)
}

// prepareJoined creates the role and the key of an account, lets it use the source key, and moves it to the unit.
func (r runner) prepareJoined(t *testing.T) {
	t.Helper()
	keys, roles := kms.NewFromConfig(r.World.Config(joined, region)), iam.NewFromConfig(r.World.Config(joined, region))
	key := must(keys.CreateKey(t.Context(), &kms.CreateKeyInput{}))(t).KeyMetadata.KeyId
	must(keys.CreateAlias(t.Context(), &kms.CreateAliasInput{
		AliasName: aws.String("alias/golden-target"), TargetKeyId: key,
	}))(t)
	name := aws.String("golden-image-target")
	existing := must(iam.NewFromConfig(r.World.Config(target, region)).
		GetRole(t.Context(), &iam.GetRoleInput{RoleName: name}))(t).Role
	must(roles.CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: name, AssumeRolePolicyDocument: aws.String(must(url.QueryUnescape(*existing.AssumeRolePolicyDocument))(t)),
	}))(t)
	must(roles.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: name, PolicyName: aws.String("golden-image"),
		PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["ec2:*","kms:*"],"Resource":"*"}}`,
		),
	}))(t)

	shared := kms.NewFromConfig(r.World.Config(source, region))
	id := must(shared.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/golden-source")}))(t)
	policy := must(shared.GetKeyPolicy(t.Context(), &kms.GetKeyPolicyInput{KeyId: id.KeyMetadata.KeyId}))(t).Policy
	must(shared.PutKeyPolicy(t.Context(), &kms.PutKeyPolicyInput{
		KeyId: id.KeyMetadata.KeyId,
		Policy: aws.String(strings.Replace(*policy, `"arn:aws:iam::`+target+`:root"`,
			`["arn:aws:iam::`+target+`:root", "arn:aws:iam::`+joined+`:root"]`, 1)),
	}))(t)

	management := organizations.NewFromConfig(r.World.Config(source, "us-east-1"))
	top := must(management.ListRoots(t.Context(), &organizations.ListRootsInput{}))(t).Roots[0].Id
	units := must(management.ListOrganizationalUnitsForParent(
		t.Context(),
		&organizations.ListOrganizationalUnitsForParentInput{ParentId: top},
	))(t).OrganizationalUnits
	r.join(t, joined, *top, *units[0].Id)
}
