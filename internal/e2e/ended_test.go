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

// The session of packer's user ends for good when the plugin shares the first staged snapshot. Everything that the run wrote, its
// debug log included, is looked through for what nobody may see.
func TestASessionThatEndsForGoodIsToldAndWhatItLeavesIsTakenUpToTheEnd(t *testing.T) {
	template := strings.ReplaceAll(resumable(`ssh_private_key_file = "build.pem"`), "poll_interval", `manifest_path = "result.json"
    poll_interval`)
	h := newHost(t, template, "-inject", `{"Fault": "expired-session", "Action": "ec2:ModifySnapshotAttribute", "Account": "`+source+`"}`)
	secrets := []string{"hand-over-4711", h.User.Secret, privateKey(t, filepath.Join(h.Folder, "build.pem"))}
	user := h.User
	h.User = must(h.World.Session(t.Context(), user))(t)
	secrets = append(secrets, h.User.Secret, h.User.Token)
	logged := filepath.Join(h.Folder, "packer.log")
	h.Env = []string{"PACKER_LOG=1", "PACKER_LOG_PATH=" + logged}

	output := h.packer(t, 1, "build", "-color=false", ".")
	says(t, output, "the source credentials have ended", "renew the credentials")
	intact(t, h.World, region)
	h.User = user
	output += h.takeUp(t, output)
	handedOn(t, h.World, region)

	for name, text := range map[string]string{"screen": output, "log": read(t, logged), "manifest": read(t, filepath.Join(h.Folder, "result.json"))} {
		if !strings.Contains(text, "snap-") {
			t.Errorf("the %s tells of no snapshot", name)
		}
		for _, secret := range append(secrets, sealingKey(t, h.World)...) {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("the %s has %q: %s", name, secret, text[max(0, at-300):at])
			}
		}
	}
}

// privateKey writes a key as amazon-ebs reads it, and returns a line of it: the builder hands the key to post-processors.
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

// sealingKey is the value of the tag that the seals of all copies are made with.
func sealingKey(t *testing.T, w *World) (values []string) {
	t.Helper()
	for _, tag := range image(t, w, source, "golden").Tags {
		if *tag.Key == "encrypted-ami:seal-key" {
			values = append(values, *tag.Value)
		}
	}
	if len(values) != 1 {
		t.Error("the image has no key for seals")
	}
	return values
}

func read(t *testing.T, path string) string {
	t.Helper()
	return string(must(os.ReadFile(path))(t))
}
