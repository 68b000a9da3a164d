// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

// awsRule is a line of rules.txt.
type awsRule struct{ number, description, enforcement, source string }

func readRules(t *testing.T) []awsRule {
	t.Helper()
	text, err := os.ReadFile("rules.txt")
	if err != nil {
		t.Fatal(err)
	}

	var all []awsRule
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(strings.TrimSpace(line), "|")
		if len(parts) != 4 {
			t.Fatalf("not a rule: %q", line)
		}
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		rule := awsRule{number: parts[0], description: parts[1], enforcement: parts[2], source: parts[3]}
		if !strings.HasSuffix(rule.description, ".") || rule.source == "" {
			t.Errorf("rule %s needs a sentence and a source: %q", rule.number, line)
		}
		all = append(all, rule)
	}

	return all
}

// checkedRules returns the rules that the code enforces, with positions. A number is a literal in a call of violates,
// or a result of a function that such a call uses.
func checkedRules(t *testing.T) map[string][]token.Position {
	t.Helper()
	found, choosers := map[string][]token.Position{}, map[string]bool{}
	set := token.NewFileSet()
	var trees []*ast.File
	for _, file := range sourceFiles(t) {
		tree, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, tree)
	}

	note := func(e ast.Expr) {
		switch e := e.(type) {
		case *ast.BasicLit:
			number, err := strconv.Unquote(e.Value)
			if err != nil {
				t.Fatal(err)
			}
			found[number] = append(found[number], set.Position(e.Pos()))
		case *ast.CallExpr:
			choosers[e.Fun.(*ast.SelectorExpr).Sel.Name] = true
		default:
			t.Errorf("%s: the number of a rule is not written out", set.Position(e.Pos()))
		}
	}

	inspectTrees(trees, func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 3 {
			if callee, ok := call.Fun.(*ast.SelectorExpr); ok && callee.Sel.Name == "violates" {
				note(call.Args[1])
			}
		}
	})

	inspectTrees(trees, func(n ast.Node) {
		if function, ok := n.(*ast.FuncDecl); ok && choosers[function.Name.Name] {
			ast.Inspect(function, func(n ast.Node) bool {
				if result, ok := n.(*ast.ReturnStmt); ok {
					note(result.Results[0])
				}
				return true
			})
		}
	})

	return found
}

func inspectTrees(trees []*ast.File, look func(ast.Node)) {
	for _, tree := range trees {
		ast.Inspect(tree, func(n ast.Node) bool { look(n); return true })
	}
}

func sourceFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, "_test.go") })
}

// TestRules_listMatchesChecks compares rules.txt with the numbered checks in the code, and with docs/simulated-aws.md.
func TestRules_listMatchesChecks(t *testing.T) {
	rules, enforced := readRules(t), checkedRules(t)
	listed := map[string]bool{}
	for _, rule := range rules {
		if listed[rule.number] {
			t.Errorf("rule %s is listed twice", rule.number)
		}
		listed[rule.number] = true
		switch locations, is := enforced[rule.number]; {
		case is && rule.enforcement != "":
			t.Errorf("rule %s is checked at %s, and listed as %q", rule.number, locations[0], rule.enforcement)
		case !is && rule.enforcement == "":
			t.Errorf("rule %s is listed as checked, and nothing does", rule.number)
		}
	}

	for number, locations := range enforced {
		if !listed[number] {
			t.Errorf("rule %s is checked at %s, and not listed", number, locations[0])
		}
	}

	page := rulesPage(rules)
	for _, a := range Alternatives() {
		if !strings.Contains(page, string(a)) {
			t.Errorf("the page does not mention the alternative %s", a)
		}
	}
	golden.Equal(t, "../../docs/simulated-aws.md", page)
}

// TestRules_everyCheckHasATest requires a test for each checked rule. The test names the rule in its doc comment
// ("TestX covers rule 2.1.1.") or in a row of its table.
func TestRules_everyCheckHasATest(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}

	tested := map[string]bool{}
	for _, file := range files {
		if strings.HasPrefix(file, "sim_scenario") {
			continue // a rule needs a test of its own besides the scenarios
		}
		for _, number := range testedRules(t, file) {
			tested[number] = true
		}
	}

	for _, rule := range slices.Sorted(maps.Keys(checkedRules(t))) {
		if !tested[rule] {
			t.Errorf("no test covers rule %s", rule)
		}
	}
}

var (
	ruleNumber   = regexp.MustCompile(`([AB]\.)?[1-9][0-9]*(\.[0-9]+)+`)
	coveredRules = regexp.MustCompile(`covers rules? .*`)
)

// testedRules returns the numbers that a test file names in doc comments of tests and in string literals.
func testedRules(t *testing.T, file string) (numbers []string) {
	t.Helper()
	tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}

	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			numbers = append(numbers, ruleNumber.FindAllString(coveredRules.FindString(n.Doc.Text()), -1)...)
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				numbers = append(numbers, ruleNumber.FindAllString(n.Value, -1)...)
			}
		}
		return true
	})

	return numbers
}

// sections are the titles of the sections by first number.
var sections = map[string]string{
	"1": "Encryption", "2": "Sharing, copying, registering", "3": "KMS", "4": "Limits, time, progress", "5": "Sessions",
	"6": "Dry runs and IAM",
	"7": "Parameters", "8": "Launches and Auto Scaling", "9": "Newer features", "A": "Corrections",
	"B": "Requests and responses",
}

// pageHead is the text above the rules, with the number of rules of each kind. A tilde stands for a backtick.
const pageHead = "<!-- Made by go test ./internal/awssim -run TestRules_listMatchesChecks -update -->" + `

# The simulated AWS and its rules

Tests, the demo and benchmarks run against a simulated AWS, the Go package ~internal/awssim~. Go tests use it as the
HTTP client of the SDK, in the same process. Other programs use its server:

    make awssim
    bin/awssim -listen 127.0.0.1:4599 -speed 60 -world demo -record calls.jsonl

The first line of output is the server's address, which only programs on the same machine can reach. The server has EC2,
the EBS direct APIs, KMS, STS, IAM, Organizations, SSM and License Manager.

- If the access key ID is the 12 digits of an account ID, the caller is the root user of that account, with any
  secret key. An account exists as soon as a request names it.
- Everything else is created by calls, or by ~-world~.
- ~-speed~ multiplies the speed of the clock. Only the expiry time of a session is in real time.
- ~-user 111111111111/builder~ creates an access key for that user and prints an ~export~ line for a shell.
- ~-seed~ is the number from which IDs and durations are drawn.
- ~-record~ appends each call to a file, as a line of JSON.
- ~-inject~ makes selected calls fail, and may be repeated. This one breaks the connection of the second snapshot copy
  after AWS accepted it:

      bin/awssim -inject '{"Fault": "lost-response", "Action": "ec2:CopySnapshot", "Nth": 2}'

  A rule selects calls by ~Account~, ~Principal~, ~Region~, ~Action~ and ~Resource~. ~Nth~ is the first selected call
  that fails, and ~Times~ the number of calls. The faults are:

  | Fault | What happens |
  |---|---|
  | ~throttled~, ~server-error~, ~unavailable~ | AWS refuses the call: throttling, HTTP 500, HTTP 503 |
  | ~connection-reset~ | the connection breaks before AWS gets the call |
  | ~lost-response~, ~late-error~ | the call takes effect, then the connection breaks, or AWS returns HTTP 500 |
  | ~truncated-response~, ~empty-response~, ~missing-id~ | the call takes effect, and the response is incomplete |
  | ~proxy-response~ | a proxy returns an empty response, and AWS does not get the call |
  | ~stale-read~ | a read misses recent changes |
  | ~expired-session~ | the session expires |
  | ~late-copy-failure~ | AWS accepts a copy, which fails later |
  | ~limit-reached~ | AWS refuses the call because a quota is used up |
  | ~pause-before-send~, ~pause-after-response~ | the caller pauses before the call, or after it |
  | ~late-arrival~ | AWS gets the call late |
  | ~silent~ | there is no response |

## The world demo

~-world demo~ creates two accounts in ap-northeast-1.

The source account 111111111111 has:

- EBS encryption by default
- the unencrypted AMI ~base-1~ with 8 and 20 GiB
- the user ~builder~, who may do everything in EC2 and KMS and assume the target's role
- the key ~alias/golden-source~, which the target may use to copy

The target account 999999999999 has:

- the key ~alias/golden-target~
- the role ~golden-image-target~ with every permission in EC2 and KMS. The source account may assume it with the
  external ID ~golden-images-4711~.

To try a guide with this world, add ~external_id = "golden-images-4711"~ to its ~assume_role~ blocks. Guides that use
SSM parameters or ~mode = "usage"~ need more permissions. This command allows everything to the role:

    AWS_ACCESS_KEY_ID=999999999999 aws iam put-role-policy --region ap-northeast-1 \
      --role-name golden-image-target --policy-name all \
      --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'

## How it differs from AWS

Recorded responses of AWS are replayed by ~go test ./internal/awssim~ and, with boto3, by ~make replay~. The files
~internal/awssim/testdata/observations.json~ and ~observations-2.json~ name the origin and the license of each case.

Some behavior of AWS is not documented, or AWS does not promise it. For each such question the simulator has two
possible behaviors. The option ~WithAlternatives~ selects the second one, and whole runs are tested with both:

| Open question | Alternative |
|---|---|
| Q1: does CopyImage check the key at once? | image-key-checked |
| Q2: which key has a copy without a key in the request? | managed-key-for-copies |
| Q3: does CopySnapshot check at once whether the key is pending import? | key-state-checked |
| Q4: does CopyImage use the quota of snapshot copies? | image-copies-counted |
| Q5: which fields does CopyImage keep? | inherited-description, inherited-deprecation |
| Q6: does EC2 accept an alias of another Region's replica? | None. The plugin passes only key ARNs to copies. |
| Q7: what do the refusals of image copies above the quota and of locked snapshots say? | other-refusals |
| Q8: which permissions does a direct copy to another Region need? | documented-key-permissions |
| Q9: how is the deregistration of a protected image refused? | other-refusals |
| Q10: how is a snapshot copy above the quota refused? | other-refusals |
| Does CopyImage copy a snapshot once for each device? | one-copy-for-all-devices |
| Which volume ID does a copied snapshot show? | arbitrary-volume-ids |
| Does DeregisterImage always delete the snapshots that the call asks for? | kept-snapshots |
| Does a dry run always change nothing? | acting-dry-runs |
| Does PutParameter refuse another type? | parameter-type-refused |
| Is a parameter's name taken before its value can be read? | hidden-parameter-taken |

AWS allows direct copies to another Region, as the EBS guide says (rule A.1.1). Only the permissions that they need are
uncertain (Q8).

The simulator refuses operations, parameters, values and condition keys that it does not model. It follows the numbered
rules below:

- **checked**: one check in the code, with the number of the rule, enforces it. ~make mutation~ disables each check, and
  a test with a recorded response or a whole run must then fail. %d rules.
- **by design**: the simulator follows the rule without a check of its own. %d rules.
- **not modeled**: %d rules.
- **advice**: what users should do. %d rules.

The last column says where a rule is known from:

- **documented** by AWS. SDK means the documentation of aws-sdk-go-v2, and EBS-UG, EC2-UG, ASG-UG and SSM-UG the user
  guides. EC2-DG and KMS-DG are the developer guides, STS-API is an API reference, and OLD-KMS is the guide of 2023.
- **recorded** on AWS. A name such as ssm/batch is a case of the recorded responses. stackd means the recordings in the
  repository radkawar/stackd.
- **reported** by users of AWS, with the issue or pull request on GitHub if there is one.
- **inferred** from other rules, until it is confirmed on AWS.
`

// rulesPage returns the content of docs/simulated-aws.md.
func rulesPage(rules []awsRule) string {
	var page strings.Builder
	counts := map[string]int{}
	for _, rule := range rules {
		counts[enforcementKind(rule.enforcement)]++
	}

	fmt.Fprintf(
		&page, strings.ReplaceAll(pageHead, "~", "`"), counts["checked"], counts["by design"], counts["not modeled"],
		counts["advice"],
	)

	section := ""
	for _, rule := range rules {
		if begins, _, _ := strings.Cut(rule.number, "."); begins != section {
			section = begins
			fmt.Fprintf(&page, "\n## %s. %s\n\n| Rule | What AWS does | Here | Known from "+
				"|\n|---|---|---|---|\n", section, sections[section])
		}
		fmt.Fprintf(
			&page, "| %s | %s | %s | %s |\n", rule.number, rule.description, enforcementText(rule.enforcement), rule.source,
		)
	}

	return page.String()
}

func enforcementKind(how string) string {
	switch {
	case how == "":
		return "checked"
	case strings.HasPrefix(how, "by design"):
		return "by design"
	case strings.HasPrefix(how, "not modeled"):
		return "not modeled"
	}
	return "advice"
}

func enforcementText(how string) string {
	if _, why, ok := strings.Cut(how, ": "); ok {
		return enforcementKind(how) + ": " + why
	}
	return enforcementKind(how)
}
