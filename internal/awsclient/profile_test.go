// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// useConfig writes the AWS config file of a test.
func useConfig(t *testing.T, text string) {
	t.Helper()
	folder := t.TempDir()
	path := filepath.Join(folder, "config")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", path)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(folder, "credentials"))
	t.Setenv("HOME", folder) // where the SDK looks for sessions of IAM Identity Center
}

// stsServer answers AssumeRole, AssumeRoleWithWebIdentity and GetCallerIdentity, and records the actions.
func stsServer(t *testing.T) (url string, actions func() []string) {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		action := r.Form.Get("Action")
		mu.Lock()
		seen = append(seen, action)
		mu.Unlock()
		w.Header().Set("Content-Type", "text/xml")
		if action == "GetCallerIdentity" {
			_, _ = io.WriteString(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Account>111111111111</Account>`+
				`<Arn>arn:aws:sts::111111111111:assumed-role/builder/x</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>`)
			return
		}
		_, _ = fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>ASIA</AccessKeyId>`+
			`<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%[2]s</Expiration></Credentials>`+
			`<AssumedRoleUser><Arn>arn:aws:sts::111111111111:assumed-role/builder/x</Arn></AssumedRoleUser>`+
			`</%[1]sResult></%[1]sResponse>`, action, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

func identify(t *testing.T, profile string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	pool, err := awsclient.New(ctx, awsclient.Access{Region: "eu-west-1", Profile: profile})
	if err == nil {
		_, err = pool.Source(ctx)
	}
	return err
}

const roleProfiles = `
[profile base]
aws_access_key_id = AKIA
aws_secret_access_key = s
[profile builder]
role_arn = arn:aws:iam::111111111111:role/builder
source_profile = base
[profile second]
role_arn = arn:aws:iam::111111111111:role/second
source_profile = builder
[profile web]
role_arn = arn:aws:iam::111111111111:role/web
web_identity_token_file = %s
`

// A profile's own roles are assumed at the endpoint of AWS_ENDPOINT_URL, like all other calls.
func TestProfile_endpointOfItsRoles(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("jwt"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := map[string]func(t *testing.T, url string){
		"AWS_ENDPOINT_URL":     func(t *testing.T, url string) { t.Setenv("AWS_ENDPOINT_URL", url) },
		"AWS_ENDPOINT_URL_STS": func(t *testing.T, url string) { t.Setenv("AWS_ENDPOINT_URL_STS", url) },
		"STS takes precedence": func(t *testing.T, url string) {
			t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
			t.Setenv("AWS_ENDPOINT_URL_STS", url)
		},
	}
	for name, set := range settings {
		for profile, want := range map[string][]string{
			"builder": {"AssumeRole", "GetCallerIdentity"},
			"second":  {"AssumeRole", "AssumeRole", "GetCallerIdentity"},
			"web":     {"AssumeRoleWithWebIdentity", "GetCallerIdentity"},
		} {
			t.Run(name+"/"+profile, func(t *testing.T) {
				useConfig(t, fmt.Sprintf(roleProfiles, token))
				url, actions := stsServer(t)
				set(t, url)
				if err := identify(t, profile); err != nil {
					t.Fatal(err)
				}
				if got := actions(); !slices.Equal(got, want) {
					t.Errorf("got the calls %v, want %v", got, want)
				}
			})
		}
	}
}

// Each cause of missing credentials has a finding of its own, so it must be distinguished from the others.
func TestSource_causeOfMissingCredentials(t *testing.T) {
	const (
		user     = "sso_account_id = 111111111111\nsso_role_name = builder\n"
		sso      = "sso_region = eu-west-1\nsso_start_url = https://d-1.awsapps.com/start\n"
		role     = "[profile p]\nrole_arn = arn:aws:iam::111111111111:role/r\n"
		fromUser = role + "source_profile = q\n"
		fails    = "credential_process = sh -c 'echo vault is sealed >&2; exit 3'\n"
	)
	for name, c := range map[string]struct {
		config  string
		want    distribution.CredentialCause
		message string // that the error shows
	}{
		"no such profile": {config: "[profile other]\nregion = eu-west-1\n", want: distribution.ProfileMissing},
		"no source_profile": {
			config:  fromUser,
			want:    distribution.ProfileInvalid,
			message: "profile, q",
		},
		"mfa_serial": {
			config: "[profile q]\naws_access_key_id = A\naws_secret_access_key = s\n" +
				fromUser + "mfa_serial = arn:aws:iam::111111111111:mfa/me\n",
			want: distribution.MFARequired,
		},
		"SSO": {config: "[profile p]\n" + user + sso, want: distribution.SSOSignInRequired},
		"SSO session": {
			config: "[profile p]\nsso_session = s\n" + user + "[sso-session s]\n" + sso,
			want:   distribution.SSOSignInRequired,
		},
		"process fails": {
			config:  "[profile p]\n" + fails,
			want:    distribution.ProcessFailed,
			message: "vault is sealed",
		},
		"process of a role": {
			config:  "[profile q]\n" + fails + fromUser,
			want:    distribution.ProcessFailed,
			message: "vault is sealed",
		},
		"process is missing": {
			config:  "[profile p]\ncredential_process = no-such-command-anywhere\n",
			want:    distribution.ProcessFailed,
			message: "not found",
		},
		"process says hush": {
			config:  "[profile p]\ncredential_process = echo hush-secret\n",
			want:    distribution.ProcessFailed,
			message: "not JSON",
		},
		"web identity": {
			config:  role + "web_identity_token_file = /no/such/token\n",
			want:    distribution.WebIdentityTokenMissing,
			message: "/no/such/token",
		},
	} {
		t.Run(name, func(t *testing.T) {
			useConfig(t, c.config)
			t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
			err := identify(t, "p")
			explained, ok := errors.AsType[*awsclient.CredentialError](err)
			if !ok || explained.Cause != c.want || explained.Profile != "p" {
				t.Fatalf("got %v (%+v), want the cause %q of profile p", err, explained, c.want)
			}
			refusal := awsclient.Refused("sts:GetCallerIdentity", err)
			if refusal.Cause != c.want || !strings.Contains(refusal.Message, c.message) {
				t.Errorf("got %+v, want the cause and %q", refusal, c.message)
			}
			if strings.Contains(err.Error(), "hush") || strings.Contains(refusal.Message, "hush") {
				t.Errorf("got %v, which shows the output of the command", err)
			}
		})
	}
}

// Without any source of credentials, the SDK asks the instance metadata service last.
func TestSource_noCredentials(t *testing.T) {
	useConfig(t, "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	err := identify(t, "")
	explained, ok := errors.AsType[*awsclient.CredentialError](err)
	if !ok || explained.Cause != distribution.NoCredentials {
		t.Errorf("got %v, want that there are no credentials", err)
	}
}
