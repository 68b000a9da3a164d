// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"fmt"
	"strings"
	"testing"
)

func TestTooLarge_reportsEachPolicy(t *testing.T) {
	for _, c := range []struct {
		accounts, users int
		organization    string
		want            []string // of each text
	}{
		{accounts: 10},
		{accounts: 50, want: []string{"build-role.json has 10121 characters", "inline policy of the role"}},
		{accounts: 60, want: []string{"build-role.json has 11481 characters", "several managed policies"}},
		{accounts: 400, want: []string{"build-role.json", "source-key.json has 3", "-organization"}},
		{accounts: 400, organization: "o-1234567890", want: []string{"build-role.json"}},
		{accounts: 1, users: 100, want: []string{"build-role.json", "source-key.json with share-key.json has"}},
	} {
		s := Example()
		s.Targets, s.Users, s.Organization = ids('2', c.accounts), ids('3', c.users), c.organization
		if c.accounts > 100 {
			s.Options = []string{} // the fewest steps to plan
		}
		reported := strings.Join(s.TooLarge(s.Policies()), "\n")
		for _, want := range c.want {
			if !strings.Contains(reported, want) {
				t.Errorf("%d accounts, %d users, %q: nothing of %q:\n%s", c.accounts, c.users, c.organization, want, reported)
			}
		}
		if len(c.want) == 0 && reported != "" || c.organization != "" && strings.Contains(reported, "key.json") {
			t.Errorf("%d accounts, %d users, %q: %s", c.accounts, c.users, c.organization, reported)
		}
	}
}

// ids returns n account IDs that begin with a digit.
func ids(digit rune, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%c%011d", digit, i))
	}
	return all
}
