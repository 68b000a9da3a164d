// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package permissions

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

func TestTooLarge_reportsEachPolicy(t *testing.T) {
	for _, c := range []struct {
		accounts, users int
		organization    string
		want            []string // of each text
	}{
		{accounts: 10},
		{accounts: 50, want: []string{"build-role.json has 10148 characters", "inline policy of the role"}},
		{accounts: 60, want: []string{"build-role.json has 11508 characters", "split it into 3 managed policies"}},
		{accounts: 400, want: []string{"build-role.json", "source-key.json has 3", "-organization"}},
		{accounts: 400, organization: "o-1234567890"},
		{accounts: 1, users: 100, want: []string{"build-role.json", "source-key.json with share-key.json has"}},
	} {
		s := Example()
		s.Targets, s.Users, s.Organization = ids('2', c.accounts), ids('3', c.users), c.organization
		if c.accounts > 100 {
			s.Options = []string{} // no options, so that planning is fast
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

// The policies of an organization have the same size for any number of accounts, and need no inline policy. The pages
// that name sizes name these.
func TestOrganizationPolicies_sizes(t *testing.T) {
	sizes := map[string]map[int]int{}
	for _, accounts := range []int{1, 20, 1000} {
		s := Example()
		s.Users = nil
		s.Targets = ids('2', accounts)
		s.Organization, s.Paths = "o-1234567890", []string{"o-1234567890/r-ab12/ou-ab12-11111111/*"}
		for file, policy := range s.Policies() {
			if sizes[file] == nil {
				sizes[file] = map[int]int{}
			}
			sizes[file][accounts] = policy.characters()
		}
	}
	for _, file := range slices.Sorted(maps.Keys(sizes)) {
		fmt.Printf("characters of %s with 1, 20 and 1,000 accounts: %d, %d, %d\n",
			file, sizes[file][1], sizes[file][20], sizes[file][1000])
		if sizes[file][1] != sizes[file][20] || sizes[file][1] != sizes[file][1000] {
			t.Errorf("%s: %v characters by number of accounts", file, sizes[file])
		}
	}

	for _, page := range []string{"../../docs/policies/README.md", "../../docs/guides/scale.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		rows := sizeRow.FindAllStringSubmatch(string(text), -1)
		if len(rows) == 0 {
			t.Errorf("%s names no size", page)
		}
		for _, row := range rows {
			if written := strings.ReplaceAll(row[2], ",", ""); written != strconv.Itoa(sizes[row[1]][1]) {
				t.Errorf("%s says that %s has %s characters, and it has %d", page, row[1], row[2], sizes[row[1]][1])
			}
		}
	}
}

// sizeRow matches a row of a table: | `build-role.json` | 3,495 |.
var sizeRow = regexp.MustCompile("\\| `([a-z-]+\\.json)` \\| ([0-9,]+) \\|")

// The parts of a policy are small enough for managed policies and have all of its statements.
func TestSplit_managedPolicies(t *testing.T) {
	s := Example()
	s.Targets = ids('2', 30)
	whole := s.Policies()["build-role.json"]
	var all []distribution.Statement
	parts := whole.Split()
	for _, part := range parts {
		if part.characters() > maxManaged {
			t.Errorf("a part has %d characters", part.characters())
		}
		all = append(all, part.Statement...)
	}
	if len(parts) < 2 || !reflect.DeepEqual(all, whole.Statement) {
		t.Errorf("%d parts with %d of %d statements", len(parts), len(all), len(whole.Statement))
	}
}

// ids returns n account IDs that begin with a digit.
func ids(digit rune, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%c%011d", digit, i))
	}
	return all
}
