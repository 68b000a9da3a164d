// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Command demo shows a complete run on one machine. It starts a simulated AWS, builds an image there with packer,
// shares and copies it to another account, and inspects the result in that account. It exits with 1 if the result is
// not as expected.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/e2e"
)

// Resources of the world "demo".
const (
	source     = "111111111111"
	target     = "999999999999"
	region     = "ap-northeast-1"
	targetKey  = "alias/golden-target"
	externalID = "golden-images-4711"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := demo(ctx, "example/single-account")
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, template string) (err error) {
	parts, err := e2e.FindParts()
	if err != nil {
		return err
	}

	path, err := filepath.Abs(template)
	if err != nil {
		return err
	}

	folder, err := os.MkdirTemp("", "demo")
	if err != nil {
		return err
	}

	defer os.RemoveAll(folder)
	host := e2e.Host{Parts: parts, Folder: folder, Plugins: filepath.Join(folder, "plugins")}
	if err := parts.Install(ctx, host.Plugins); err != nil {
		return err
	}

	host.World, err = parts.StartWorld("-world", "demo", "-speed", "600")
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, host.World.Stop()) }()
	if host.User, err = host.World.AccessKey(ctx, source, "builder"); err != nil {
		return err
	}

	say("A simulated AWS listens on %s; nothing leaves this machine.", host.World.Endpoint)
	say("Account %s builds an image. It encrypts by default with aws/ebs, a key that cannot be shared.", source)
	say("Account %s gets an image of its own, under its own key %s.", target, targetKey)
	build := []string{
		"build", "-color=false", "-var", "external_id=" + externalID, "-var", "poll_interval=1s", path,
	}

	say("\n$ packer build -var external_id=EXTERNAL_ID -var poll_interval=1s %s", template)
	packer := host.Command(ctx, build...)
	packer.Stdout, packer.Stderr = os.Stdout, os.Stderr
	if err := packer.Run(); err != nil {
		return fmt.Errorf("packer build: %w", err)
	}

	say("\nAsked from account %s:", target)
	if err := inspect(ctx, host.World.Config(target, region)); err != nil {
		return err
	}

	say("\nAll of it is as it should be.")
	return nil
}

// inspect prints the image in the target account and launches it.
func inspect(ctx context.Context, account aws.Config) error {
	cloud := ec2.NewFromConfig(account)
	key, err := kms.NewFromConfig(account).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(targetKey)})
	if err != nil {
		return err
	}

	images, err := cloud.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}})
	if err != nil {
		return err
	}
	if len(images.Images) != 1 {
		return fmt.Errorf("%d images, want 1", len(images.Images))
	}

	image := images.Images[0]
	say("  image     %s  %s  %s  owner %s", *image.ImageId, *image.Name, image.State, *image.OwnerId)
	if image.State != types.ImageStateAvailable || *image.OwnerId != target {
		return fmt.Errorf(
			"%s of %s is %s, want %s's and %s", *image.ImageId, *image.OwnerId, image.State, target, types.ImageStateAvailable,
		)
	}
	if err := inspectSnapshots(ctx, cloud, image, *key.KeyMetadata.Arn); err != nil {
		return err
	}

	return launch(ctx, cloud, *image.ImageId)
}

func inspectSnapshots(ctx context.Context, cloud *ec2.Client, image types.Image, key string) error {
	if len(image.BlockDeviceMappings) != 2 {
		return fmt.Errorf("%s has %d volumes, want 2", *image.ImageId, len(image.BlockDeviceMappings))
	}

	for _, mapping := range image.BlockDeviceMappings {
		answer, err := cloud.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{
			SnapshotIds: []string{*mapping.Ebs.SnapshotId},
		})
		if err != nil {
			return err
		}

		snapshot := answer.Snapshots[0]
		say(
			"  snapshot  %s  %s  %d GiB  %s  owner %s", *snapshot.SnapshotId, *mapping.DeviceName, *snapshot.VolumeSize,
			snapshot.State, *snapshot.OwnerId,
		)

		say("            under %s (%s)", aws.ToString(snapshot.KmsKeyId), targetKey)
		if snapshot.State != types.SnapshotStateCompleted || *snapshot.OwnerId != target ||
			aws.ToString(snapshot.KmsKeyId) != key {
			return fmt.Errorf("%s is not %s's own, completed, under %s (%s)", *snapshot.SnapshotId, target, targetKey, key)
		}
	}

	return nil
}

func launch(ctx context.Context, cloud *ec2.Client, image string) error {
	launched, err := cloud.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId:      aws.String(image),
		InstanceType: types.InstanceTypeT3Micro,
		MinCount:     aws.Int32(1),
		MaxCount:     aws.Int32(1),
	})
	if err != nil {
		return err
	}

	asked := &ec2.DescribeInstancesInput{InstanceIds: []string{*launched.Instances[0].InstanceId}}
	for tries := 0; ; tries++ {
		answer, err := cloud.DescribeInstances(ctx, asked)
		if err != nil {
			return err
		}

		instance := answer.Reservations[0].Instances[0]
		switch state := instance.State.Name; {
		case state == types.InstanceStateNameRunning:
			say("  instance  %s  launched from it: %s", *instance.InstanceId, state)
			return nil
		case state != types.InstanceStateNamePending || tries == 30:
			return fmt.Errorf(
				"%s launched from %s is %s: %s", *instance.InstanceId, image, state, aws.ToString(instance.StateTransitionReason),
			)
		}

		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func say(format string, arguments ...any) {
	fmt.Println(strings.TrimRight(fmt.Sprintf(format, arguments...), " "))
}
