// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// start runs a server until the test ends and returns its address.
func start(t *testing.T, arguments ...string) string {
	t.Helper()
	address, _ := started(t, arguments...)
	return address
}

// started is like start, and also returns the server's further output.
func started(t *testing.T, arguments ...string) (string, *bufio.Reader) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"-listen", "127.0.0.1:0"}, arguments...), write, io.Discard)
		write.Close()
		ended <- err
	}()

	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})

	out := bufio.NewReader(read)
	line, err := out.ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "awssim listening on ")
	if err != nil || !ok || !strings.HasPrefix(address, "http://127.0.0.1:") {
		t.Fatalf("first line %q: %v", line, err)
	}

	return address, out
}

func TestServer_printsAccessKey(t *testing.T) {
	address, out := started(t, "-world", "demo", "-user", "111111111111/builder")
	line, err := out.ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) != 4 || words[0] != "export" || words[1] != "AWS_ENDPOINT_URL="+address {
		t.Fatalf("second line %q: %v", line, err)
	}

	_, id, _ := strings.Cut(words[2], "AWS_ACCESS_KEY_ID=")
	_, secret, _ := strings.Cut(words[3], "AWS_SECRET_ACCESS_KEY=")
	who, err := sts.NewFromConfig(config(address, id, secret, "")).GetCallerIdentity(
		t.Context(), &sts.GetCallerIdentityInput{},
	)
	if err != nil || *who.Arn != "arn:aws:iam::111111111111:user/builder" {
		t.Errorf("%+v, %v", who, err)
	}
}

func TestServer_unknownUser(t *testing.T) {
	err := run(t.Context(), []string{"-user", "111111111111/missing-user"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "missing-user") {
		t.Errorf("%v", err)
	}
}

func config(address, accessKey, secret, token string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &address,
		Credentials: credentials.NewStaticCredentialsProvider(accessKey, secret, token),
	}
}

func TestServer_servesAndRecords(t *testing.T) {
	recording := filepath.Join(t.TempDir(), "calls.jsonl")
	address := start(t, "-record", recording)
	out, err := sts.NewFromConfig(config(
		address, "111111111111", "secret", "",
	)).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *out.Arn != "arn:aws:iam::111111111111:root" {
		t.Fatalf("%+v, %v", out, err)
	}

	lines, err := os.ReadFile(recording)
	if err != nil || strings.Count(string(lines), "\n") != 1 ||
		!strings.Contains(string(lines), `"Action":"sts:GetCallerIdentity"`) {
		t.Errorf("recording %q, %v", lines, err)
	}
}

// TestServer_sessionExpiresInClientTime shows that a session of an hour expires after an hour of the server's clock. At
// 3,600 times real time that is a second.
func TestServer_sessionExpiresInClientTime(t *testing.T) {
	address := start(t, "-speed", "3600")
	client := iam.NewFromConfig(config(address, "111111111111", "secret", ""))
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("builder")}); err != nil {
		t.Fatal(err)
	}

	key, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("builder")})
	if err != nil {
		t.Fatal(err)
	}

	user := config(address, *key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey, "")
	session, err := sts.NewFromConfig(user).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{
		DurationSeconds: aws.Int32(3600),
	})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(*session.Credentials.Expiration); left > 2*time.Second {
		t.Errorf("the session ends in %s, want about a second", left)
	}
}

func TestServer_injectsFault(t *testing.T) {
	address := start(t, "-inject", `{"Fault": "expired-session", "Action": "sts:GetCallerIdentity", "Nth": 2}`)
	cfg := config(address, "111111111111", "secret", "")
	created, err := sts.NewFromConfig(cfg).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{})
	if err != nil {
		t.Fatal(err)
	}

	session := sts.NewFromConfig(config(
		address, *created.Credentials.AccessKeyId, *created.Credentials.SecretAccessKey, *created.Credentials.SessionToken,
	))

	for _, want := range []bool{true, false, false} { // it stays expired
		if _, err := session.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); (err == nil) != want {
			t.Errorf("got %v", err)
		}
	}

	for _, rule := range []string{
		"expired", `{"Fault": "expired"}`, `{"Fault": "throttled", "Call": "ec2:CopySnapshot"}`,
	} {
		if err := run(t.Context(), []string{"-inject", rule}, io.Discard, io.Discard); err == nil {
			t.Errorf("%s was taken", rule)
		}
	}
}

func TestServer_onlyLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "[::]:0", "example.com:0"} {
		if listener, err := listen(address); err == nil {
			listener.Close()
			t.Errorf("%s was taken", address)
		}
	}
}

func TestServer_requestTooLong(t *testing.T) {
	address := start(t)
	answer, err := http.Post(address, "application/x-www-form-urlencoded", strings.NewReader(strings.Repeat("a", 2<<20)))
	if err != nil {
		return // the connection was closed while sending
	}
	defer answer.Body.Close()
	if answer.StatusCode < 400 {
		t.Errorf("status %s", answer.Status)
	}
}

func TestServer_unknownWorld(t *testing.T) {
	err := run(t.Context(), []string{"-listen", "127.0.0.1:0", "-world", "nowhere"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Errorf("error %v", err)
	}
}
