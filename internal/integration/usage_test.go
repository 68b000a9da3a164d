// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// The usage report names the instances, groups, launch templates and parameters of each release, and changes nothing.
func TestUsage_knownWorld(t *testing.T) {
	text := ""
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		for _, account := range twoTargets {
			autoScaling(w, account)
		}
		r := twoReleases(w, fixture.WithKMSGrant()) // prod and stage publish the first release, the second one is on hold
		names := map[string]string{r.first: "RELEASE-1", r.second: "RELEASE-2"}
		for _, account := range twoTargets {
			for _, image := range w.Images(account, fixture.Home) {
				id := *image.ImageId
				names[id] = "COPY-OF-" + names[r.sourceOf(account, id)] + "-IN-" + account
			}
		}

		copyOf := func(account, source string) string {
			i := slices.IndexFunc(w.Images(account, fixture.Home), func(image ec2types.Image) bool {
				return r.sourceOf(account, *image.ImageId) == source
			})
			return *w.Images(account, fixture.Home)[i].ImageId
		}
		names[launch(w, w.EC2(fixture.Prod, fixture.Home), copyOf(fixture.Prod, r.first), nil)] = "I-1"
		ended := launch(w, w.EC2(fixture.Prod, fixture.Home), copyOf(fixture.Prod, r.first), nil)
		_, err := w.EC2(fixture.Prod, fixture.Home).TerminateInstances(
			w.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{ended}})
		if err != nil {
			w.Fatal(err)
		}
		group := []ec2types.Tag{{Key: aws.String("aws:autoscaling:groupName"), Value: aws.String("web-servers")}}
		for i := range 2 {
			client := autoScaling(w, fixture.Prod)
			names[launch(w, client, copyOf(fixture.Prod, r.second), group)] = fmt.Sprintf("I-%d", i+2)
		}
		time.Sleep(5 * time.Minute)

		run := r.runMode("usage", r.first)
		w.RequireSuccess(run)
		r.expectUnchanged("usage", run)
		report, err := os.ReadFile(filepath.Join(run.Folder, "report-usage.md"))
		if err != nil {
			w.Fatal(err)
		}
		_, section, _ := strings.Cut(string(report), "## Usage of the releases\n")
		section, _, _ = strings.Cut(section, "\n## ")
		text = section + "\n" + screenOfUsage(run.Text())
		for id, name := range names {
			text = strings.ReplaceAll(text, id, name)
		}
	})
	golden.Equal(t, "testdata/usage.golden", text)
}

// screenOfUsage returns the lines of the screen about releases and what uses them.
func screenOfUsage(screen string) string {
	var lines []string
	for line := range strings.Lines(screen) {
		for _, part := range []string{"Release ", "  2", "  3", "encrypted-ami,release", "encrypted-ami,use"} {
			if strings.Contains(line, part) {
				lines = append(lines, line)
				break
			}
		}
	}
	return strings.Join(lines, "")
}

// The run fails if it cannot read all uses, and the report names the missing permission.
func TestUsage_deniedReferences(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		w.Deny(fixture.Stage, "ec2:DescribeImageReferences")
		run := r.runMode("usage", r.first)
		w.RequireFailure(run)
		r.expectUnchanged("usage", run)
		for _, want := range []string{
			"the usage of 1 of 2 destinations is not known",
			"ec2:DescribeImageReferences",
			"unknown",
		} {
			if !strings.Contains(run.Text()+run.Err.Error(), want) {
				w.Errorf("the output lacks %q: %s %v", want, run.Text(), run.Err)
			}
		}
	})
}

// DescribeImageReferences calls other services for the caller. The error names the action that is denied, and prints
// the statement to add and the role to add it to.
func TestUsage_missingReferencePermission(t *testing.T) {
	test(t, fixture.Setup{Targets: twoTargets}, func(w *fixture.World) {
		r := twoReleases(w)
		w.Allow(fixture.Stage, "ec2:*", "kms:*", "ssm:*")
		run := r.runMode("usage", r.first)
		w.RequireFailure(run)
		denied := regexp.MustCompile(`role \S+ may not imagebuilder:List\w+`)
		if !denied.MatchString(run.Text()) {
			w.Errorf("the output does not name the denied action: %s", run.Text())
		}
		for _, want := range []string{
			"Add to the identity policy of role ",
			`"Action":["imagebuilder:List`,
			"Fix:     Add the statement printed above",
		} {
			if !strings.Contains(run.Text()+run.Err.Error(), want) {
				w.Errorf("the output lacks %q: %s %v", want, run.Text(), run.Err)
			}
		}
		if strings.Contains(run.Text(), "Allow ec2:DescribeImageReferences") {
			w.Errorf("the output names a permission that the role has: %s", run.Text())
		}
	})
}

// launch runs an instance and returns its ID.
func launch(w *fixture.World, client *ec2.Client, image string, tags []ec2types.Tag) string {
	w.Helper()
	in := &ec2.RunInstancesInput{
		ImageId:      aws.String(image),
		InstanceType: ec2types.InstanceTypeT4gMicro,
		MinCount:     aws.Int32(1),
		MaxCount:     aws.Int32(1),
	}
	if len(tags) > 0 {
		in.TagSpecifications = []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeInstance, Tags: tags}}
	}
	out, err := client.RunInstances(w.Context(), in)
	if err != nil {
		w.Fatal(err)
	}
	return *out.Instances[0].InstanceId
}

// autoScaling returns a client of the service-linked role of Auto Scaling.
func autoScaling(w *fixture.World, account string) *ec2.Client {
	w.Helper()
	_, err := iam.NewFromConfig(w.Config(account, fixture.Home)).CreateServiceLinkedRole(w.Context(),
		&iam.CreateServiceLinkedRoleInput{AWSServiceName: aws.String("autoscaling.amazonaws.com")})
	if err != nil && !strings.Contains(err.Error(), "has been taken") {
		w.Fatal(err)
	}
	config, err := w.ServiceConfig("arn:aws:iam::"+account+
		":role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling", fixture.Home)
	if err != nil {
		w.Fatal(err)
	}
	return ec2.NewFromConfig(config)
}
