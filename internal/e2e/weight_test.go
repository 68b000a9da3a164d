// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"os"
	"testing"
)

// The plugin links only the operations that it calls, except those of EC2: its SDK creates an interface of the whole
// client to sign the URLs of CopySnapshot.
func TestPlugin_linkedOperations(t *testing.T) {
	binary := must(os.ReadFile(hostOf(t, "").Plugin))(t)
	for operation, called := range map[string]bool{
		"licensemanager.(*Client).UpdateLicenseSpecificationsForResource": true,
		"licensemanager.(*Client).CreateLicense":                          false,
		"ssm.(*Client).PutParameter":                                      true,
		"ssm.(*Client).CreateMaintenanceWindow":                           false,
	} {
		if bytes.Contains(binary, []byte("service/"+operation+"\x00")) != called {
			t.Errorf("%s is linked: %v, want %v", operation, !called, called)
		}
	}
}
