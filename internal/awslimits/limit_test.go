// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awslimits_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awslimits"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/limitsamples"
)

// rowName returns the name of the subtest for a row of the table.
func rowName(limit awslimits.Limit) string {
	return strings.TrimSpace(fmt.Sprintf("%s: %s %s", limit.Subject, limit.Kind, prefixOf(limit)))
}

func prefixOf(limit awslimits.Limit) string {
	if limit.Kind == awslimits.Prefix {
		return limit.Words
	}
	return ""
}

func TestTable_rowsHaveSources(t *testing.T) {
	seen := map[string]bool{}
	for _, limit := range awslimits.Table {
		if limit.Source == "" {
			t.Errorf("%s: no source", rowName(limit))
		}
		if seen[rowName(limit)] {
			t.Errorf("%s: two rows", rowName(limit))
		}
		seen[rowName(limit)] = true
	}
	if len(awslimits.Table) < 80 {
		t.Errorf("got %d rows, want 80 or more", len(awslimits.Table))
	}
}

// The table accepts a value at each of its limits, and refuses the next one.
func TestTable_atAndBeyondEachLimit(t *testing.T) {
	for _, limit := range awslimits.Table {
		t.Run(rowName(limit), func(t *testing.T) {
			switch limit.Kind {
			case awslimits.Combination:
				testCombination(t, limit)
			case awslimits.Future, awslimits.MaxYears:
				testTime(t, limit)
			case awslimits.MaxCount:
				within, beyond, _ := limitsamples.Numbers(limit)
				expect(t, within, awslimits.CheckCount(limit.Subject, within), nil)
				expect(t, beyond, awslimits.CheckCount(limit.Subject, beyond), limit.Words)
			case awslimits.MinNumber, awslimits.MaxNumber, awslimits.MultipleOf:
				within, beyond, _ := limitsamples.Numbers(limit)
				expect(t, within, awslimits.CheckNumber(limit.Subject, within), nil)
				expect(t, beyond, awslimits.CheckNumber(limit.Subject, beyond), fmt.Sprint(limit.Number))
			default:
				within, beyond, ok := limitsamples.Texts(limit)
				if !ok {
					t.Fatalf("no samples of %s", limit.Kind)
				}
				expect(t, within, awslimits.Check(limit.Subject, within), nil)
				expect(t, beyond, awslimits.Check(limit.Subject, beyond), "")
			}
		})
	}
}

// expect compares what a check says of a value. want is nil where the value is accepted, else words of the message.
func expect(t *testing.T, value any, got error, want any) {
	t.Helper()
	switch want := want.(type) {
	case nil:
		if got != nil {
			t.Errorf("%v: got %v, want it accepted", value, got)
		}
	case string:
		if got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: got %v, want a refusal with %q", value, got, want)
		}
	}
}

func testTime(t *testing.T, limit awslimits.Limit) {
	now := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	within, beyond := now.Add(time.Minute), now
	if limit.Kind == awslimits.MaxYears {
		within = now.AddDate(limit.Number, 0, 0)
		beyond = within.Add(time.Minute)
	}
	expect(t, within, awslimits.CheckTime(limit.Subject, within, now), nil)
	expect(t, beyond, awslimits.CheckTime(limit.Subject, beyond, now), "is")
}

func testCombination(t *testing.T, limit awslimits.Limit) {
	switch limit.Subject {
	case awslimits.SessionPolicy:
		expect(t, `{"Version":"2012-10-17"}`, awslimits.CheckJSON(`{"Version":"2012-10-17"}`), nil)
		expect(t, limit.Refused, awslimits.CheckJSON(limit.Refused), "JSON")
	case awslimits.SessionPolicies:
		arn := limitsamples.Typical(awslimits.SessionPolicyARN)
		within := limitsamples.Text(awslimits.SessionPolicy, limit.Number-len(arn))
		expect(t, len(within), awslimits.CheckSessionPolicies(within, []string{arn}), nil)
		expect(t, len(within)+1, awslimits.CheckSessionPolicies(within+"a", []string{arn}), "together")
	case awslimits.SessionTags:
		expect(t, "departments", awslimits.CheckSessionTagKeys([]string{"Department", "departments"}), nil)
		expect(t, limit.Refused, awslimits.CheckSessionTagKeys([]string{"Department", limit.Refused}), "upper and lower")
	case awslimits.ParameterNameAndARN:
		const arn = "arn:aws:ssm:us-east-2:111122223333:parameter/"
		within := "/" + strings.Repeat("a", limit.Number-len(arn))
		expect(t, len(within), awslimits.CheckParameterName(within, arn), nil)
		expect(t, len(within)+1, awslimits.CheckParameterName(within+"a", arn), "ARN")
	case awslimits.ParameterDataAndType:
		expect(t, "String", awslimits.CheckParameterType("String", limit.Refused), nil)
		expect(t, "SecureString", awslimits.CheckParameterType("SecureString", limit.Refused), "String")
	default:
		t.Errorf("no case for the combination of %s", limit.Subject)
	}
}

func TestCheckParameterName_levels(t *testing.T) {
	most := awslimits.Number(awslimits.ParameterLevels, awslimits.MaxCount)
	within := strings.Repeat("/a", most)
	expect(t, within, awslimits.CheckParameterName(within, ""), nil)
	expect(t, within+"/a", awslimits.CheckParameterName(within+"/a", ""), "levels")
	expect(t, "golden", awslimits.CheckParameterName("golden", ""), nil)
	expect(t, "golden/ami", awslimits.CheckParameterName("golden/ami", ""), "slash")
	expect(t, "/AWS/ami", awslimits.CheckParameterName("/AWS/ami", ""), "reserves")
}

// AWS counts characters, not bytes, so a value with more bytes than the limit may be valid.
func TestCheck_countsCharacters(t *testing.T) {
	most := awslimits.Number(awslimits.TagValue, awslimits.MaxLength)
	expect(t, "é", awslimits.Check(awslimits.TagValue, strings.Repeat("é", most)), nil)
	expect(t, "é", awslimits.Check(awslimits.TagValue, strings.Repeat("é", most+1)), "characters")
}
