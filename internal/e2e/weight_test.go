// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package e2e

import (
	"bytes"
	"os"
	"testing"
)

// EC2 is linked whole: its SDK makes an interface of the client to sign the URLs of CopySnapshot.
func TestThePluginBringsNoOperationsThatItDoesNotCall(t *testing.T) {
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
