// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// cliSession runs the AWS CLI and keeps a transcript.
type cliSession struct {
	*testing.T
	cli        string
	address    string
	transcript strings.Builder
	names      map[string]string // placeholders by ID
}

// idPattern matches what differs between two sessions: IDs, keys, times, tokens and addresses.
var idPattern = regexp.MustCompile(`(snap|vol|ami|lt|i|r|eni|sg|subnet|vpc)-0?[0-9a-f]{8,17}` +
	`|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{64}\b` +
	`|\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)|\d{10}\.\d+|172\.31\.\d+\.\d+|ip-172-31-\d+-\d+`)

// normalize replaces IDs by placeholders, numbered by kind in the order of appearance.
func (s *cliSession) normalize(text string) string {
	return idPattern.ReplaceAllStringFunc(text, func(found string) string {
		if found == "vol-ffffffff" { // the volume ID of every copy
			return found
		}
		kind := "id"
		if prefix, _, ok := strings.Cut(found, "-"); ok && regexp.MustCompile(`^[a-z]+$`).MatchString(prefix) {
			kind = prefix
		}
		if strings.Contains(found, "T") || strings.Count(found, ".") == 1 && !strings.Contains(found, "-") {
			return "TIME"
		}
		if s.names[found] == "" {
			s.names[found] = kind + "-" + string(rune('A'+len(s.names)%26)) + strings.Repeat("'", len(s.names)/26)
		}
		return s.names[found]
	})
}

// run runs a command as an account's root user and returns its output as JSON.
func (s *cliSession) run(account, command string) map[string]any {
	s.Helper()
	out, problem := s.execute(account, command)
	if problem != "" {
		s.Fatalf("aws %s: %s", command, problem)
	}
	if len(bytes.TrimSpace(out)) == 0 {
		return nil
	}

	var parsed map[string]any
	if err := json.Unmarshal(out, &parsed); err != nil {
		s.Fatalf("aws %s: %v", command, err)
	}
	pretty, err := json.MarshalIndent(withoutNewMembers(parsed), "", "    ")
	if err != nil {
		s.Fatal(err)
	}
	// Version 1 of the CLI prints some times as numbers, version 2 as texts.
	s.transcript.WriteString(strings.ReplaceAll(s.normalize(string(pretty)), `"TIME"`, "TIME") + "\n")
	return parsed
}

// newMembers are members that not every version of the CLI knows.
var newMembers = []string{
	"AvailabilityZoneId", "CompletionTime", "CurrentKeyMaterialId", "DeregistrationProtection", "FreeTierEligible",
	"FullSnapshotSizeInBytes", "Operator", "TransferType", "VolumeArn",
}

// withoutNewMembers returns an output without the members that only some versions of the CLI print.
func withoutNewMembers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		kept := map[string]any{}
		_, isVolume := value["MultiAttachEnabled"]
		for name, member := range value {
			if !slices.Contains(newMembers, name) && (name != "OwnerId" || !isVolume) {
				kept[name] = withoutNewMembers(member)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(value))
		for i := range value {
			kept[i] = withoutNewMembers(value[i])
		}
		return kept
	}
	return value
}

// refused runs a command that AWS refuses.
func (s *cliSession) refused(account, command string) {
	s.Helper()
	_, problem := s.execute(account, command)
	if problem == "" {
		s.Fatalf("aws %s: not refused", command)
	}
	s.transcript.WriteString(s.normalize(problem) + "\n")
}

// execute runs a command and returns what it wrote to its output and to its error output.
func (s *cliSession) execute(account, command string) (out []byte, problem string) {
	s.Helper()
	shown := command
	if file := strings.Index(command, "file://"); file >= 0 {
		shown = command[:file] + "file://policy.json"
	}
	s.transcript.WriteString("\n" + account + "$ aws " + s.normalize(shown) + "\n")
	process := exec.CommandContext(
		s.Context(), s.cli,
		append(strings.Fields(command), "--endpoint-url", s.address, "--region", "us-east-1", "--output", "json")...,
	)
	process.Env = append(
		os.Environ(), "AWS_ACCESS_KEY_ID="+account, "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=", "AWS_PAGER=",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
	)

	var stdout, stderr bytes.Buffer
	process.Stdout, process.Stderr = &stdout, &stderr
	if err := process.Run(); err != nil {
		return nil, cmp.Or(strings.TrimSpace(stderr.String()), err.Error())
	}
	return stdout.Bytes(), ""
}

// text returns the member of an output at a path of names.
func (s *cliSession) text(output map[string]any, path ...string) string {
	s.Helper()
	for _, name := range path[:len(path)-1] {
		next, ok := output[name].(map[string]any)
		if !ok {
			s.Fatalf("no %v in %v", path, output)
		}
		output = next
	}
	text, ok := output[path[len(path)-1]].(string)
	if !ok {
		s.Fatalf("no %v in %v", path, output)
	}
	return text
}

const sharedKeyPolicy = `{"Version":"2012-10-17","Statement":[` +
	`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"kms:*","Resource":"*"},` +
	`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Resource":"*",` +
	`"Action":["kms:DescribeKey","kms:Decrypt","kms:ReEncryptFrom","kms:CreateGrant"]}]}`

// TestServer_awsCLISession does the job by hand with the AWS CLI: it creates keys, shares and copies a snapshot,
// registers and launches an image, and publishes it. Other clients than the SDK read the responses.
func TestServer_awsCLISession(t *testing.T) {
	cli, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("needs the AWS CLI: apt-get install awscli")
	}

	const source, target = "111111111111", "999999999999"
	s := &cliSession{T: t, cli: cli, address: start(t, "-speed", "20000"), names: map[string]string{}}
	policy := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(policy, []byte(sharedKeyPolicy), 0o600); err != nil {
		t.Fatal(err)
	}

	sourceKey := s.text(s.run(source, "kms create-key --description images"), "KeyMetadata", "KeyId")
	s.run(source, "kms create-alias --alias-name alias/images --target-key-id "+sourceKey)
	_, problem := s.execute(source, "kms put-key-policy --policy-name default --key-id "+sourceKey+
		" --policy file://"+policy)
	if problem != "" {
		t.Fatal(problem)
	}

	volume := s.text(s.run(source, "ec2 create-volume --availability-zone us-east-1a --size 8 --volume-type gp3 "+
		"--encrypted --kms-key-id alias/images"), "VolumeId")
	s.run(source, "ec2 wait volume-available --volume-ids "+volume)
	s.run(source, "ec2 describe-volumes --volume-ids "+volume)
	snapshot := s.text(s.run(source, "ec2 create-snapshot --description base --volume-id "+volume), "SnapshotId")
	s.run(source, "ec2 wait snapshot-completed --snapshot-ids "+snapshot)
	s.run(source, "ec2 describe-snapshot-attribute --attribute createVolumePermission --snapshot-id "+snapshot)
	s.refused(target, "ec2 describe-snapshots --snapshot-ids "+snapshot)
	s.run(source, "ec2 modify-snapshot-attribute --attribute createVolumePermission --operation-type add --user-ids "+
		target+" --snapshot-id "+snapshot)
	s.run(source, "ec2 describe-snapshot-attribute --attribute createVolumePermission --snapshot-id "+snapshot)
	s.run(target, "ec2 describe-snapshots --snapshot-ids "+snapshot)

	targetKey := s.text(s.run(target, "kms create-key"), "KeyMetadata", "Arn")
	copied := s.text(s.run(target, "ec2 copy-snapshot --source-region us-east-1 --encrypted --kms-key-id "+targetKey+
		" --source-snapshot-id "+snapshot), "SnapshotId")
	s.run(target, "ec2 wait snapshot-completed --snapshot-ids "+copied)
	s.run(target, "ec2 describe-snapshots --snapshot-ids "+copied)

	image := s.text(s.run(target, "ec2 register-image --name golden --architecture x86_64 --virtualization-type hvm "+
		"--ena-support --root-device-name /dev/sda1 --block-device-mappings DeviceName=/dev/sda1,Ebs={SnapshotId="+
		copied+"}"), "ImageId")
	s.run(target, "ec2 wait image-available --image-ids "+image)
	s.run(target, "ec2 describe-images --owners self")
	s.run(target, "ec2 run-instances --instance-type t3.micro --image-id "+image)

	s.run(target, "ssm put-parameter --name /golden/ami --type String --data-type aws:ec2:image --value "+image)
	s.run(target, "ssm get-parameter --name /golden/ami")
	s.run(target, "ssm get-parameters --names /golden/ami /golden/none")
	template := s.text(s.run(target, "ec2 create-launch-template --launch-template-name web --launch-template-data "+
		`{"InstanceType":"t3.micro"}`), "LaunchTemplate", "LaunchTemplateId")
	s.run(target, "ec2 create-launch-template-version --source-version 1 --launch-template-data "+
		`{"ImageId":"`+image+`"} --launch-template-id `+template)
	s.run(target, "ec2 modify-launch-template --default-version 2 --launch-template-id "+template)
	s.run(target, "ec2 describe-launch-template-versions --versions $Default --launch-template-id "+template)
	s.refused(target, "ec2 describe-launch-template-versions --versions 3 --launch-template-id "+template)

	golden.Equal(t, "testdata/aws-cli-session.txt", s.transcript.String())
}
