// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// World is a simulated AWS in its own process, on a free port of the loopback interface.
type World struct {
	Endpoint string // http://127.0.0.1:port
	process  *exec.Cmd
	log      bytes.Buffer
}

// StartWorld starts a simulated AWS and waits until it prints its address. arguments may contain -speed and -world.
func (p Parts) StartWorld(arguments ...string) (*World, error) {
	const announced = "awssim listening on "
	w := &World{process: exec.Command(p.Awssim, append([]string{"-listen", "127.0.0.1:0"}, arguments...)...)}
	w.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that only Stop stops it, not an interrupt
	w.process.Stderr = &w.log
	stdout, err := w.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := w.process.Start(); err != nil {
		return nil, err
	}
	out := bufio.NewReader(stdout)
	line, err := out.ReadString('\n')
	endpoint, ok := strings.CutPrefix(strings.TrimSpace(line), announced)
	if !ok {
		_ = w.Stop()
		return nil, fmt.Errorf("awssim did not print its address (%w): %q\n%s", err, line, w.log.String())
	}
	go io.Copy(io.Discard, out) // until it ends: a full pipe would stop it
	w.Endpoint = endpoint
	return w, nil
}

// Stop ends the world.
func (w *World) Stop() error {
	_ = w.process.Process.Signal(syscall.SIGTERM) // it may have ended by itself; Wait reports that
	if err := w.process.Wait(); err != nil {
		return fmt.Errorf("awssim: %w\n%s", err, w.log.String())
	}
	return nil
}

// Config returns the configuration of clients with an account's root user, in a Region.
func (w *World) Config(account, region string) aws.Config {
	return aws.Config{
		Region:       region,
		BaseEndpoint: aws.String(w.Endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider(account, "secret", ""),
	}
}

// AccessKey holds the credentials of a user, or of a session if it has a Token.
type AccessKey struct{ ID, Secret, Token string }

// AccessKey creates an access key for a user of an account.
func (w *World) AccessKey(ctx context.Context, account, user string) (AccessKey, error) {
	answer, err := iam.NewFromConfig(w.Config(account, "us-east-1")).
		CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &user})
	if err != nil {
		return AccessKey{}, err
	}
	return AccessKey{ID: *answer.AccessKey.AccessKeyId, Secret: *answer.AccessKey.SecretAccessKey}, nil
}

// Session creates a session of a user. It lasts 36 hours of the simulated time, the maximum.
func (w *World) Session(ctx context.Context, user AccessKey) (AccessKey, error) {
	config := w.Config("", "us-east-1")
	config.Credentials = credentials.NewStaticCredentialsProvider(user.ID, user.Secret, "")
	answer, err := sts.NewFromConfig(config).
		GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(36 * 3600)})
	if err != nil {
		return AccessKey{}, err
	}
	return AccessKey{
		*answer.Credentials.AccessKeyId,
		*answer.Credentials.SecretAccessKey,
		*answer.Credentials.SessionToken,
	}, nil
}
