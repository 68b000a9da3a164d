// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package doctest_test

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
)

// The accounts, the Region and the names of the guides.
const (
	source     = "111111111111"
	target     = "999999999999"
	region     = "ap-northeast-1"
	targetRole = "arn:aws:iam::" + target + ":role/golden-image-target"
	anyAccount = `{"Version": "2012-10-17", "Statement": [{
		"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111111111111:root"}, "Action": "sts:AssumeRole"}]}`
)

// TestMain also implements the commands of the guides: the shell runs this test binary under their names.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "aws":
		os.Exit(commandLine(os.Args[1:], os.Stdout, os.Stderr))
	case "openssl":
		os.Exit(openssl(os.Args[1:], os.Stdin, os.Stderr))
	}
	os.Exit(m.Run())
}

// The commands of the guides run in a shell against the simulated AWS. Afterwards the target's role can use both keys
// as a copy does.
func TestGuides_commandsCreateKeysAndRoles(t *testing.T) {
	for name, stoodIn := range map[string]bool{"with openssl": false, "with a stand-in for openssl": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath("openssl"); err != nil && !stoodIn {
				t.Skip("there is no openssl here; the other run has a stand-in: ", err)
			}
			keysAndRolesThatCopy(t, commands(t, stoodIn))
		})
	}
}

func keysAndRolesThatCopy(t *testing.T, path string) {
	clock := awssim.StartClock(600)
	world := awssim.New(awssim.WithClock(clock.Now), awssim.WithClientTime(clock.RealTime), awssim.WithoutLatency())
	server := httptest.NewServer(world)
	t.Cleanup(server.Close)
	as := func(account string) aws.Config {
		return aws.Config{
			Region:       region,
			BaseEndpoint: &server.URL,
			Credentials:  credentials.NewStaticCredentialsProvider(account, "secret", ""),
		}
	}
	identities := iam.NewFromConfig(as(source))
	must(identities.CreateRole(
		t.Context(),
		&iam.CreateRoleInput{RoleName: aws.String("golden-image-build"), AssumeRolePolicyDocument: aws.String(anyAccount)},
	))(t)
	must(identities.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("ci")}))(t)
	must(identities.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
		UserName:   aws.String("ci"),
		PolicyName: aws.String("build"),
		PolicyDocument: aws.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}`,
		),
	}))(t)

	folder := t.TempDir()
	run(t, folder, path, server.URL, shellScript(t, "docs/guides/keys-and-roles.md"))

	ci := must(identities.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("ci")}))(t).AccessKey
	user := as(source)
	user.Credentials = credentials.NewStaticCredentialsProvider(*ci.AccessKeyId, *ci.SecretAccessKey, "")
	build := assumed(t, user, "arn:aws:iam::"+source+":role/golden-image-build", "")
	copying := assumed(t, build, targetRole, "golden-images")

	keys := kms.NewFromConfig(as(source))
	imported := must(
		keys.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/golden-imported")}),
	)(t).KeyMetadata
	if imported.KeyState != kmstypes.KeyStateEnabled || imported.Origin != kmstypes.OriginTypeExternal {
		t.Errorf("the imported key is %s, of origin %s", imported.KeyState, imported.Origin)
	}
	shared := must(
		keys.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/golden-source")}),
	)(t).KeyMetadata
	original := snapshotUnder(t, ec2.NewFromConfig(as(source)), *shared.Arn)
	cloud := ec2.NewFromConfig(copying)
	made := must(cloud.CopySnapshot(t.Context(), &ec2.CopySnapshotInput{
		SourceRegion: aws.String(region), SourceSnapshotId: &original,
		Encrypted: aws.Bool(true), KmsKeyId: aws.String("alias/golden-target"),
	}))(t)
	completed(t, cloud, *made.SnapshotId)

	if os.Remove(filepath.Join(folder, "script")) != nil {
		t.Fatal("no command was run")
	}
	run(t, folder, path, server.URL, strings.ReplaceAll(shellScript(t, "docs/guides/auto-scaling.md"), "aws --profile "+
		"target iam create-service-linked-role", ": done before, "))
}

// shellScript returns the commands of a page, which are its blocks of the language sh. Blocks of the language console
// also show output.
func shellScript(t *testing.T, page string) string {
	t.Helper()
	var script strings.Builder
	for _, block := range parseMarkdown(read(t, root+"/"+page)).codeBlocks() {
		if block.Language == "sh" {
			script.WriteString(block.Text)
		}
	}
	if !strings.Contains(script.String(), "aws ") {
		t.Fatalf("%s has no commands", page)
	}
	return script.String()
}

// run runs a script in a folder. The commands in path precede others. The test fails at the first command that fails.
func run(t *testing.T, folder, path, endpoint, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, "script"), []byte("set -e\n"+script), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "/bin/sh", "-x", "script")
	command.Dir = folder
	command.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"), "AWS_ENDPOINT_URL="+endpoint)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

// commands returns a folder with the command aws, a go command that runs the commands of this repository, and on
// request a replacement for openssl.
func commands(t *testing.T, stoodIn bool) string {
	t.Helper()
	folder := t.TempDir()
	self := must(os.Executable())(t)
	names := []string{"aws"}
	if stoodIn {
		names = append(names, "openssl")
	}
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	compiler, repository := must(exec.LookPath("go"))(t), must(filepath.Abs(root))(t)
	tool := folder + "/tool"
	script := "#!/bin/sh\nset -e\nshift; package=$1; shift\n" +
		"[ -e '" + tool + "' ] || '" + compiler + "' build -C '" + repository + "' -o '" + tool + "' \"$package\"\n" +
		"'" + tool + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(folder, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return folder
}

func assumed(t *testing.T, from aws.Config, role, externalID string) aws.Config {
	t.Helper()
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("guide")}
	if externalID != "" {
		in.ExternalId = &externalID
	}
	session := must(sts.NewFromConfig(from).AssumeRole(t.Context(), in))(t).Credentials
	from.Credentials = credentials.NewStaticCredentialsProvider(
		*session.AccessKeyId,
		*session.SecretAccessKey,
		*session.SessionToken,
	)
	return from
}

// snapshotUnder creates a snapshot under a key of the source account and shares it with the target.
func snapshotUnder(t *testing.T, cloud *ec2.Client, key string) string {
	t.Helper()
	volume := must(cloud.CreateVolume(
		t.Context(),
		&ec2.CreateVolumeInput{
			AvailabilityZone: aws.String(region + "a"),
			Size:             aws.Int32(1),
			Encrypted:        aws.Bool(true),
			KmsKeyId:         &key,
		},
	))(t)
	var snapshot string
	eventually(t, func(ctx context.Context) bool { // until the volume is available
		made, err := cloud.CreateSnapshot(ctx, &ec2.CreateSnapshotInput{VolumeId: volume.VolumeId})
		if err == nil {
			snapshot = *made.SnapshotId
		}
		return err == nil
	})
	completed(t, cloud, snapshot)
	must(cloud.ModifySnapshotAttribute(t.Context(), &ec2.ModifySnapshotAttributeInput{
		SnapshotId: &snapshot, Attribute: ec2types.SnapshotAttributeNameCreateVolumePermission,
		OperationType: ec2types.OperationTypeAdd, UserIds: []string{target},
	}))(t)
	return snapshot
}

func completed(t *testing.T, cloud *ec2.Client, snapshot string) {
	t.Helper()
	eventually(t, func(ctx context.Context) bool {
		in := &ec2.DescribeSnapshotsInput{SnapshotIds: []string{snapshot}}
		found := must(cloud.DescribeSnapshots(ctx, in))(t).Snapshots[0]
		if found.State == ec2types.SnapshotStateError {
			t.Fatalf("%s: %s", snapshot, aws.ToString(found.StateMessage))
		}
		return found.State == ec2types.SnapshotStateCompleted
	})
}

// eventually polls until a condition is true. The clock of the simulated AWS runs faster than real time.
func eventually(t *testing.T, so func(context.Context) bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(t.Context()); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come to be so")
		}
	}
}

func TestCommandLine_unknownWords(t *testing.T) {
	for _, arguments := range []string{
		"kms create-kex",
		"kms create-key --orign EXTERNAL",
		"s3 ls",
		"kms create-key --query KeyMetadata.Nothing --output text",
	} {
		var out, complaints bytes.Buffer
		t.Setenv("AWS_ENDPOINT_URL", httptest.NewServer(awssim.New(awssim.WithoutLatency())).URL)
		code := commandLine(
			append([]string{"--profile", "source", "--region", region}, strings.Fields(arguments)...),
			&out,
			&complaints,
		)
		if code == 0 {
			t.Errorf("aws %s: %s", arguments, out.String())
		}
	}
}
