// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The session of the post-processor expires when it shares the first of two snapshots. The builder's session is still
// valid when Packer tries to destroy the image. The test searches everything that both wrote, including the debug log,
// for secrets.
func TestResume_afterExpiredSession(t *testing.T) {
	builder := `
  encrypt_boot         = true
  kms_key_id           = "alias/golden-source"
  ssh_private_key_file = "build.pem"
`
	processor := strings.ReplaceAll(template(builder, sharing(prod)), `
    poll_interval`, `
    access_key    = var.access_key
    secret_key    = var.secret_key
    token         = var.token
    output_directory = "dist"
    poll_interval`)
	for _, name := range []string{"access_key", "secret_key", "token"} {
		processor += "variable \"" + name + "\" {}\n"
	}
	h := newHost(
		t,
		processor,
		"-inject",
		`{"Fault": "expired-session", "Action": "ec2:ModifySnapshotAttribute", "Account": "`+source+`", "Nth": 2}`,
	)
	sessions := []AccessKey{must(h.World.Session(t.Context(), h.User))(t), must(h.World.Session(t.Context(), h.User))(t)}
	logged := filepath.Join(h.Folder, "packer.log")
	secrets := []string{"golden-images-4711", h.User.Secret, privateKey(t, filepath.Join(h.Folder, "build.pem"))}
	as := func(s AccessKey) {
		secrets = append(secrets, s.Secret, s.Token)
		h.Env = []string{
			"PACKER_LOG=1",
			"PACKER_LOG_PATH=" + logged,
			"PKR_VAR_access_key=" + s.ID,
			"PKR_VAR_secret_key=" + s.Secret,
			"PKR_VAR_token=" + s.Token,
		}
	}

	as(sessions[0])
	output := h.packer(t, 1, "build", "-color=false", ".")
	says(t, output, "the source credentials have ended", "Renew the credentials")
	intact(t, h.World, region)
	written := map[string]string{
		"first manifest": read(t, filepath.Join(h.Folder, "dist", "manifest.json")),
		"first log":      read(t, logged),
	}
	as(sessions[1])
	resumed, fresh := h.resume(t, output)
	written["screen"] = output + resumed
	checkDistributed(t, h.World, region)

	written["manifest"], written["log"] = read(t, filepath.Join(fresh.Folder, "dist", "manifest.json")), read(t, logged)
	secrets = append(secrets, signingKey(t, h.World))
	for name, text := range written {
		if !strings.Contains(text, "snap-") {
			t.Errorf("the %s names no snapshot", name)
		}
		for _, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("the %s has %q: %s", name, secret, text[max(0, at-300):at])
			}
		}
	}
}

// privateKey writes a private key in the format of amazon-ebs, and returns a line of it. The builder passes the key to
// post-processors.
func privateKey(t *testing.T, path string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))(t)}))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.Split(text, "\n")[1]
}

// signingKey returns the signing key of the run, which is in a tag of the image.
func signingKey(t *testing.T, w *World) string {
	t.Helper()
	for _, tag := range image(t, w, source, "golden").Tags {
		if strings.HasPrefix(*tag.Key, "encrypted-ami:signing-key:") {
			return *tag.Value
		}
	}
	t.Fatal("the image has no signing key")
	return ""
}

func read(t *testing.T, path string) string {
	t.Helper()
	return string(must(os.ReadFile(path))(t))
}
