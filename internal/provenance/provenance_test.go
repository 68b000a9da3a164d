// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package provenance_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/provenance"
)

const (
	target = "999999999999"
	region = "us-west-2"
	keyARN = "arn:aws:kms:us-west-2:999999999999:key/26289b06-0afb-47a8-8208-7331ad4ff545"
)

var (
	source  = provenance.SourceImage{Account: "111111111111", Region: "ap-northeast-1", ImageID: "ami-0aaaaaaaaaaaaaaaa"}
	release = time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	created = release.Add(time.Hour)
	signer  = provenance.NewSigningKey(release)
	keys    = keysOf(signer)
)

func keysOf(all ...provenance.SigningKey) provenance.SigningKeys {
	tags := map[string]string{"Name": "golden"}
	for _, k := range all {
		key, value := k.Tag()
		tags[key] = value
	}
	return provenance.ParseSigningKeys(tags)
}

// runs knows which runs are over and which have a record.
type runs struct{ over, covered map[string]bool }

func (r runs) IsOver(run string, _ time.Time) bool { return r.over[run] }
func (r runs) Covers(run string, at time.Time) bool {
	return r.covered[run] && !at.Before(created)
}

var records = runs{over: map[string]bool{"old": true, "own": true}, covered: map[string]bool{"old": true}}

func statement(id string) provenance.Statement {
	return provenance.Statement{
		ResourceID: id,
		Account:    target,
		Region:     region,
		Source:     source,
		Run:        "old",
		Role:       provenance.Temporary,
		Release:    release,
		KeyARN:     keyARN,
		Device:     "/dev/xvda",
	}
}

// signed returns a snapshot with the signature of a statement about it.
func signed(change ...func(*provenance.Statement)) provenance.Resource {
	s := statement("snap-0123456789abcdef0")
	for _, c := range change {
		c(&s)
	}
	return provenance.Resource{
		Kind:    provenance.Snapshot,
		ID:      s.ResourceID,
		Account: target,
		Region:  region,
		Created: created,
		Tags:    signer.SignedTags(s),
		KeyARN:  keyARN,
	}
}

func TestJudge_signature(t *testing.T) {
	other := provenance.NewSigningKey(release)
	otherKeyARN := "arn:aws:kms:us-west-2:999999999999:key/00000000-0afb-47a8-8208-7331ad4ff545"
	tag := func(key, value string) func(*provenance.Resource) {
		return func(r *provenance.Resource) { r.Tags[key] = value }
	}
	in := func(old, changed string) func(*provenance.Resource) {
		return func(r *provenance.Resource) {
			value := r.Tags[provenance.TagSignature]
			if !strings.Contains(value, old) {
				panic(old + " is not in " + value)
			}
			r.Tags[provenance.TagSignature] = strings.Replace(value, old, changed, 1)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*provenance.Resource)
		keys   provenance.SigningKeys
		want   provenance.Verdict
	}{
		{"unchanged", func(*provenance.Resource) {}, keys, provenance.Adoptable},
		{"pending copy without a key", func(r *provenance.Resource) { r.KeyARN = "" }, keys, provenance.Adoptable},
		{"second signing key", func(*provenance.Resource) {}, keysOf(other, signer), provenance.Adoptable},
		{
			"tags copied to another id",
			func(r *provenance.Resource) { r.ID = "snap-0fedcba9876543210" },
			keys,
			provenance.Unproven,
		},
		{"other account", func(r *provenance.Resource) { r.Account = "888888888888" }, keys, provenance.Unproven},
		{"other Region", func(r *provenance.Resource) { r.Region = "eu-west-1" }, keys, provenance.Unproven},
		{"other key of the resource", func(r *provenance.Resource) { r.KeyARN = otherKeyARN }, keys, provenance.Unproven},
		{"other key in the text", in(keyARN, otherKeyARN), keys, provenance.Unproven},
		{"other role in the text", in("temporary", "delivery"), keys, provenance.Unproven},
		{"other release in the text", in("2026-11-27", "2020-11-27"), keys, provenance.Unproven},
		{"other device in the text", in("/dev/xvda", "/dev/xvdb"), keys, provenance.Unproven},
		{"other run", tag(provenance.TagRun, "own"), keys, provenance.Unproven},
		{
			"other source",
			tag(provenance.TagSource, "111111111111/ap-northeast-1/ami-0bbbbbbbbbbbbbbbb"),
			keys,
			provenance.Unproven,
		},
		{"not a signature", tag(provenance.TagSignature, "yes"), keys, provenance.Unproven},
		{"unknown signing key", func(*provenance.Resource) {}, keysOf(other), provenance.Unproven},
		{"no signing key", func(*provenance.Resource) {}, nil, provenance.Unproven},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := signed()
			c.change(&r)
			judge := provenance.Judge{Source: source, Keys: c.keys, Runs: records}
			got := judge.Judge(r)
			if got.Verdict != c.want {
				t.Errorf("got verdict %d (%s), want %d", got.Verdict, got.Reason, c.want)
			}
			if got.Verdict == provenance.Unproven && got.Reason == "" {
				t.Error("got no reason")
			}
		})
	}
}

// The cases are the rows of the table of evidence and of the table of owners, for resources without a signature.
func TestJudge_evidence(t *testing.T) {
	tags := func(run string) map[string]string { return provenance.CreationTags(source, run) }
	token := func(kind provenance.Kind, run string) provenance.CallToken {
		return signer.CallToken(provenance.Call{Kind: kind, Account: target, Region: region, Source: source, Run: run})
	}
	resource := func(kind provenance.Kind, run string, change func(*provenance.Resource)) provenance.Resource {
		r := provenance.Resource{
			Kind:    kind,
			ID:      string(kind) + "-1",
			Account: target,
			Region:  region,
			Created: created,
			Tags:    tags(run),
		}
		change(&r)
		return r
	}
	snapshot := func(run, described string) provenance.Resource {
		return resource(provenance.Snapshot, run, func(r *provenance.Resource) {
			r.Description = token(provenance.Snapshot, described).Description("copy of snap-1")
		})
	}
	grant := func(run, issuer string) provenance.Resource {
		return resource(provenance.Grant, "", func(r *provenance.Resource) {
			r.Tags, r.IssuingAccount = nil, issuer
			r.Name = token(provenance.Grant, run).GrantName(source, run)
		})
	}
	copied := func(change func(*provenance.Resource)) provenance.Resource {
		return resource(provenance.Image, "old", func(r *provenance.Resource) {
			r.Name, r.SourceImageID = "golden", source.ImageID
			r.Expected = provenance.Expected{Names: []string{"golden"}, SourceImageIDs: []string{source.ImageID}}
			change(r)
		})
	}
	registered := func(snapshots ...provenance.Resource) provenance.Resource {
		return resource(provenance.Image, "old", func(r *provenance.Resource) {
			r.Name, r.Expected.Names, r.Snapshots = "golden", []string{"golden"}, snapshots
		})
	}
	unsigned := signed()
	unsigned.Tags = tags("old")
	stolen := snapshot("old", "old")
	stolen.Tags[provenance.TagSignature] = signed().Tags[provenance.TagSignature]

	for _, c := range []struct {
		name     string
		resource provenance.Resource
		want     provenance.Verdict
	}{
		{"snapshot of an ended run", snapshot("old", "old"), provenance.Deletable},
		{"snapshot of this run", snapshot("own", "own"), provenance.Deletable},
		{"snapshot of a working run", snapshot("live", "live"), provenance.Working},
		{"snapshot whose run tag was changed", snapshot("old", "live"), provenance.Unproven},
		{"snapshot with a wrong signature", stolen, provenance.Unproven},
		{"snapshot with our tags only", unsigned, provenance.Unproven},
		{"instance", resource(provenance.Instance, "old", func(r *provenance.Resource) {
			r.ClientToken = string(token(provenance.Instance, "old"))
		}), provenance.Deletable},
		{"instance with the token of a snapshot", resource(provenance.Instance, "old", func(r *provenance.Resource) {
			r.ClientToken = string(token(provenance.Snapshot, "old"))
		}), provenance.Unproven},
		{"instance in another account", resource(provenance.Instance, "old", func(r *provenance.Resource) {
			r.ClientToken, r.Account = string(token(provenance.Instance, "old")), "888888888888"
		}), provenance.Unproven},
		{
			"instance with our tags only",
			resource(provenance.Instance, "old", func(*provenance.Resource) {}),
			provenance.Unproven,
		},
		{"grant of an ended run", grant("old", source.Account), provenance.Deletable},
		{"grant of a working run", grant("live", source.Account), provenance.Working},
		{"grant of another issuer", grant("old", target), provenance.Unproven},
		{"volume", resource(provenance.Volume, "old", func(*provenance.Resource) {}), provenance.Unproven},
		{"copied image", copied(func(*provenance.Resource) {}), provenance.Deletable},
		{
			"copied image before its run",
			copied(func(r *provenance.Resource) { r.Created = created.Add(-time.Second) }),
			provenance.Unproven,
		},
		{
			"copied image of another source",
			copied(func(r *provenance.Resource) { r.SourceImageID = "ami-1" }),
			provenance.Unproven,
		},
		{"copied image under another name", copied(func(r *provenance.Resource) { r.Name = "other" }), provenance.Unproven},
		{
			"copied image of a run without a record",
			copied(func(r *provenance.Resource) { r.Tags = tags("own") }),
			provenance.Unproven,
		},
		{"registered image", registered(signed()), provenance.Deletable},
		{"registered image with an unsigned snapshot", registered(signed(), unsigned), provenance.Unproven},
		{"registered image without snapshots", registered(), provenance.Unproven},
		{
			"answered call",
			resource(provenance.Volume, "own", func(r *provenance.Resource) { r.ID = "vol-answered" }),
			provenance.Deletable,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			judge := provenance.Judge{Source: source, Keys: keys, Runs: records, Answered: []string{"vol-answered"}, Run: "own"}
			got := judge.Judge(c.resource)
			if got.Verdict != c.want {
				t.Errorf("got verdict %d (%s), want %d", got.Verdict, got.Reason, c.want)
			}
			if _, err := got.Adoption("own"); err == nil {
				t.Error("evidence made a resource adoptable")
			}
			if proof, err := got.Deletion(); (err == nil) != (c.want == provenance.Deletable) {
				t.Errorf("got proof %v and error %v for verdict %d", proof, err, got.Verdict)
			}
		})
	}
}

func TestJudgment_owners(t *testing.T) {
	run := func(run string) func(*provenance.Statement) { return func(s *provenance.Statement) { s.Run = run } }
	delivery := func(s *provenance.Statement) { s.Role = provenance.Delivery }
	for _, c := range []struct {
		name                    string
		resource                provenance.Resource
		release                 time.Time
		adopt, deletes, replace bool
	}{
		{"temporary, ended run", signed(), release, true, true, true},
		{"temporary, this run", signed(run("own")), release, true, true, true},
		{"temporary, working run", signed(run("live")), release, false, false, false},
		{"delivery, ended run, same release", signed(delivery), release, true, false, true},
		{"delivery, ended run, newer than ours", signed(delivery), release.Add(-time.Second), true, false, false},
		{"delivery, working run, same release", signed(delivery, run("live")), release, false, false, false},
		{
			"delivery, working run, older than ours",
			signed(delivery, run("live")),
			release.Add(time.Second),
			false,
			false,
			false,
		},
		{
			"delivery, ended run, older than ours",
			signed(delivery),
			release.Add(time.Second),
			true,
			false,
			true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := provenance.Judge{Source: source, Keys: keys, Runs: records}.Judge(c.resource)
			adopted, err := got.Adoption("own")
			if (err == nil) != c.adopt {
				t.Errorf("adoption: got error %v, want adoptable %t", err, c.adopt)
			}
			if err == nil && adopted.Run != "own" {
				t.Errorf("adoption: got run %q, want own", adopted.Run)
			}
			proof, err := got.Deletion()
			if (err == nil) != c.deletes {
				t.Errorf("deletion: got error %v, want deletable %t", err, c.deletes)
			}
			if err == nil && proof.ID() != c.resource.ID {
				t.Errorf("deletion: got id %q, want %q", proof.ID(), c.resource.ID)
			}
			if _, err := got.Replacement(c.release); (err == nil) != c.replace {
				t.Errorf("replacement: got error %v, want replaceable %t", err, c.replace)
			}
		})
	}
}

// An adopted resource has the signature of the new run. The old signature proves nothing once the tags name the new
// run.
func TestJudge_afterAdoption(t *testing.T) {
	r := signed()
	judge := provenance.Judge{Source: source, Keys: keys, Runs: records}
	adopted, err := judge.Judge(r).Adoption("own")
	if err != nil {
		t.Fatal(err)
	}
	old := r.Tags[provenance.TagSignature]
	r.Tags = signer.SignedTags(adopted)
	if got := judge.Judge(r); got.Run != "own" || got.Verdict != provenance.Adoptable {
		t.Errorf("got verdict %d of run %q, want %d of own", got.Verdict, got.Run, provenance.Adoptable)
	}
	r.Tags[provenance.TagSignature] = old
	if got := judge.Judge(r); got.Verdict != provenance.Unproven {
		t.Errorf("got verdict %d with the old signature, want %d", got.Verdict, provenance.Unproven)
	}
}

func TestDeletionProof_withoutJudgment(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a proof that no judgment gave names a resource")
		}
	}()
	_ = provenance.DeletionProof{}.ID()
}

func TestSigningKey_tag(t *testing.T) {
	key, value := signer.Tag()
	if len(keys) != 1 || keys[0] != signer || !keys[0].Release.Equal(release) {
		t.Errorf("got keys %v from tag %s", keys, key)
	}
	for name, tags := range map[string]map[string]string{
		"overwritten": {key: strings.Replace(value, value[:2], "zz", 1)},
		"other key":   {key + "0": value},
		"no release":  {key: value[:32]},
		"short":       {key: value[2:]},
		"empty":       {key: ""},
	} {
		if got := provenance.ParseSigningKeys(tags); len(got) != 0 {
			t.Errorf("%s: got a key", name)
		}
	}
	_, secret := signer.Tag()
	encoded, err := json.Marshal(signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s", signer, signer, signer, signer),
		fmt.Sprint(keys),
		string(encoded),
	} {
		if strings.Contains(text, secret[:32]) || !strings.Contains(text, "(secret)") {
			t.Errorf("the key prints as %s", text)
		}
	}
}

// Two runs that wrote a signing key at the same time sign with the same one, and each can verify what the other signed
// before.
func TestSigningKeys_lowestSigns(t *testing.T) {
	a, b := provenance.NewSigningKey(release), provenance.NewSigningKey(release.Add(-time.Hour))
	first, _ := keysOf(a, b).Signer()
	second, _ := keysOf(b, a).Signer()
	if first != second || first.ID != min(a.ID, b.ID) {
		t.Errorf("got keys %s and %s, want the lower of %s and %s", first.ID, second.ID, a.ID, b.ID)
	}
	if got := keysOf(a, b).Release(); !got.Equal(release.Add(-time.Hour)) {
		t.Errorf("got release %v, want the earliest", got)
	}
}

func TestSignedTags_fitIntoTags(t *testing.T) {
	s := statement("snap-0123456789abcdef0")
	s.KeyARN = "arn:aws-us-gov:kms:us-gov-northeast-1:999999999999:key/mrk-26289b060afb47a882087331ad4ff545"
	s.Device = strings.Repeat("d", 32)
	for key, value := range signer.SignedTags(s) {
		if len(key) > 128 || len(value) > 256 {
			t.Errorf("tag %s has %d and %d characters", key, len(key), len(value))
		}
	}
}

func TestCallToken_texts(t *testing.T) {
	call := provenance.Call{Kind: provenance.Snapshot, Account: target, Region: region, Source: source, Run: "old"}
	other := call
	other.Purpose = "second attempt"
	token, again := signer.CallToken(call), signer.CallToken(other)
	if token == again || token != signer.CallToken(call) {
		t.Error("a token does not stand for exactly one call")
	}
	if len(token) > 64 {
		t.Errorf("the token has %d characters, want at most 64", len(token))
	}
	long := token.Description(strings.Repeat("é", 300))
	if len(long) > 255 || !token.IsIn(long) || again.IsIn(long) {
		t.Errorf("the description is %q", long)
	}
	if provenance.CallToken("").IsIn("no token") {
		t.Error("no token is in a description")
	}
	name := token.GrantName(source, "5d3c8a52-8f0e-4c0b-9a41-2f1e7f6f0a11")
	if len(name) > 256 || !provenance.IsGrantOf(source, name) || provenance.IsGrantOf(source, "golden") {
		t.Errorf("the grant is called %q", name)
	}
}

func TestParseSourceImage(t *testing.T) {
	got, ok := provenance.ParseSourceImage(source.String())
	if !ok || got != source {
		t.Errorf("got %v, %t, want %v", got, ok, source)
	}
	for _, bad := range []string{"", "ami-1", source.String() + "/xvda", "1/us-east-1/ami-0"} {
		if _, ok := provenance.ParseSourceImage(bad); ok {
			t.Errorf("%q is taken for a source image", bad)
		}
	}
}

func accounts(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%012d", 100000000000+i))
	}
	return all
}

func TestBaseline_roundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 19, 20, 38, 57} {
		tags, err := provenance.BaselineTags(accounts(n))
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range tags {
			if len(value) > 256 {
				t.Errorf("%d accounts: tag %s has %d characters", n, key, len(value))
			}
		}
		got, known, err := provenance.Baseline(tags)
		if err != nil || !known || fmt.Sprint(got) != fmt.Sprint(accounts(n)) {
			t.Errorf("%d accounts: got %v, %t, %v", n, got, known, err)
		}
	}
	if _, err := provenance.BaselineTags(accounts(58)); err == nil {
		t.Error("58 accounts: got no error")
	}
	if got, known, err := provenance.Baseline(nil); known || err != nil || got != nil {
		t.Errorf("no tags: got %v, %t, %v", got, known, err)
	}
}

// If a tag of the baseline is lost, its accounts must not lose their permissions.
func TestBaseline_incomplete(t *testing.T) {
	tags, err := provenance.BaselineTags(accounts(20))
	if err != nil {
		t.Fatal(err)
	}
	for key := range tags {
		damaged := maps.Clone(tags)
		delete(damaged, key)
		if got, _ := provenance.Withdrawable(accounts(20), target, damaged); len(got) > 0 {
			t.Errorf("without tag %s: got %d withdrawable accounts, want none", key, len(got))
		}
	}
	if _, _, err := provenance.Baseline(map[string]string{provenance.TagBaseline: "many"}); err == nil {
		t.Error("got no error for a baseline that cannot be read")
	}
}

func TestWithdrawable(t *testing.T) {
	all := accounts(4)
	tags, err := provenance.BaselineTags(all[:1])
	if err != nil {
		t.Fatal(err)
	}
	permanent, err := provenance.PermanentTags(all[1:2], tags)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(tags, permanent)
	got, err := provenance.Withdrawable(append(all, target), target, tags)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(all[2:]) {
		t.Errorf("got %v, %v, want %v", got, err, all[2:])
	}
}

// An account loses its own permission, and a run restores it. The restored permission is temporary.
func TestRemovedTags(t *testing.T) {
	all := accounts(57)
	tags, err := provenance.BaselineTags(all)
	if err != nil {
		t.Fatal(err)
	}
	lost, kept := all[10:50:50], slices.Concat(all[:10], all[50:])
	removed, err := provenance.RemovedTags(append(lost, target), kept, tags)
	if err != nil || len(removed) != 3 {
		t.Fatalf("got %d tags, %v, want 3", len(removed), err)
	}
	maps.Copy(tags, removed)
	if got, err := provenance.Withdrawable(all, target, tags); err != nil || fmt.Sprint(got) != fmt.Sprint(lost) {
		t.Errorf("got %v, %v, want %v", got, err, lost)
	}
	if again, err := provenance.RemovedTags(lost, all, tags); err != nil || len(again) > 0 {
		t.Errorf("got %v, %v, want no tags the second time", again, err)
	}
	if own := provenance.WithoutBaseline(tags); len(own) > 0 {
		t.Errorf("got %v, want no tags that concern another resource", own)
	}
}

func TestPermanentTags_bounded(t *testing.T) {
	first, err := provenance.PermanentTags(accounts(40), nil)
	if err != nil || len(first) != 3 {
		t.Fatalf("got %d tags, %v, want 3", len(first), err)
	}
	again, err := provenance.PermanentTags(accounts(40), first)
	if err != nil || len(again) != 0 {
		t.Errorf("got %d more tags, %v, want none: a second run writes nothing", len(again), err)
	}
	if got := provenance.Permanent(first); fmt.Sprint(got) != fmt.Sprint(accounts(40)) {
		t.Errorf("got %v", got)
	}
	if _, err := provenance.PermanentTags(accounts(100), first); err == nil {
		t.Error("got no error for more accounts than fit")
	}
}
