// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Document is what the report of a run shows, whatever its medium: plain data, in the order in which people read it.
type Document struct {
	Outcome      Outcome
	Headline     string
	Written      time.Time
	Begun        time.Time
	Ended        time.Time `json:",omitzero"` // zero while the run goes on
	Failure      string    `json:",omitempty"`
	Sources      []Source
	Drawing      Drawing
	Findings     []Finding
	Destinations []Destination
	Shares       []Share
	Grants       []Grant // that stay, of targets and of share blocks
	Copies       []Copy  // that were begun, in the order of the plan
	Fidelity     []Attribute
	Costs        Costs
	Left         []distribution.RetainedResource
}

// Outcome of a run.
type Outcome string

const (
	Planned   Outcome = "planned" // and no more was asked for
	Underway  Outcome = "under way"
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
)

// Source is an image that is handed on, and what becomes of its volumes.
type Source struct {
	Account   string // "" where the run did not come to look
	Region    string
	ImageID   string
	Protected bool // under the deregistration protection of the run
	Causes    []string
	Volumes   []Volume
}

// Volume of a source image, and what was decided about it.
type Volume struct {
	Device     string
	SnapshotID string
	GiB        int32
	Key        string // ARN; "" when it is not encrypted
	Staged     bool
	StageKey   string // ARN
	Why        string
}

// Destination is an account in a Region, what it gets and how far that has come.
type Destination struct {
	Account  string
	Region   string
	Target   string
	Optional bool
	State    distribution.State
	ImageID  string `json:",omitempty"`
	Name     string
	Key      string // ARN
	From     string // Region that the copies come from
	Method   distribution.Method
	Because  string                 `json:",omitempty"` // of the method, where the template leaves it open
	Pointers []distribution.Pointer // what names the image for others, or should
	Begun    time.Time              `json:",omitzero"`  // of its first step
	Ended    time.Time              `json:",omitzero"`  // of its last one
	Why      string                 `json:",omitempty"` // it has no image
}

// Share is an image of the source account that others launch from.
type Share struct {
	Names   string // of the share blocks
	Account string
	Region  string
	ImageID string // "" until it is shared, where it is a copy of the source image
	With    string
	Done    bool
}

// Grant lets somebody use a key from then on.
type Grant struct {
	Account string // that makes it
	Region  string
	Grantee string // ARN
	Key     string // ARN
	Name    string
	For     string // what it allows
	Done    bool   // it stands
}

// Copy is a copy in the time line.
type Copy struct {
	Step    distribution.StepID
	Account string
	Region  string
	Staged  bool // in the source account, for others to copy from
	Device  string
	GiB     int64
	Begun   time.Time
	Ended   time.Time `json:",omitzero"` // zero while it goes on
	Made    string    `json:",omitempty"`
	Failed  bool
}

// Attribute of the source image, and what becomes of it in images of targets.
type Attribute struct {
	Name   string
	How    distribution.AttributeHandling
	Why    string `json:",omitempty"`
	Images int    // that it holds for
}

// Costs are what the plan moves and stores, and what stays.
type Costs struct {
	plan.Estimate
	Steps int   // copies that the plan makes, that of an image being one
	Owned int64 // GiB that the targets' images store
	Left  int64 // GiB that are left behind
}

// Finding is a finding as a report shows it.
type Finding struct {
	Level     string // refusal; failed, where the run had begun; warning, note
	Rule      string `json:",omitempty"`
	Field     string `json:",omitempty"`
	Account   string `json:",omitempty"`
	Region    string `json:",omitempty"`
	Operation string `json:",omitempty"`
	Principal string `json:",omitempty"` // with details only
	Resource  string `json:",omitempty"`
	Summary   string
	Because   string     `json:",omitempty"`
	Next      string     `json:",omitempty"`
	Policies  []Addition `json:",omitempty"` // with details only
}

// Addition is statements to add to a policy, JSON each.
type Addition struct {
	Policy     string
	Statements []string
}

// Of makes the document of a plan and what has come of it at a moment. Without details it names no role and no user: their ARNs are
// cut, and the statements that would name them are left out. p is zero where a run ended before it had a plan.
func Of(p plan.Plan, r distribution.Result, at time.Time, details bool) Document {
	d := Document{Outcome: outcome(p, r), Written: at, Begun: r.Begun, Ended: r.Ended, Failure: failure(p, r), Sources: sources(p, r), Fidelity: fidelity(p), Left: slices.Clone(r.Left)}
	d.Findings = shown(r, details)
	d.Destinations = destinations(p, r, d.Findings)
	d.Shares, d.Grants = shares(p, r), grants(p, r)
	d.Headline = headline(d)
	d.Copies = copies(p, r)
	d.Drawing = drawing(p, d)
	d.Costs.Estimate = p.Estimate
	for _, made := range r.Images {
		for _, s := range made.Snapshots {
			d.Costs.Owned += int64(s.GiB)
		}
	}
	for _, s := range p.Steps {
		if _, is := s.(step.Copying); is {
			d.Costs.Steps++
		}
	}
	for _, left := range d.Left {
		d.Costs.Left += left.GiB
	}
	scrub(reflect.ValueOf(&d).Elem(), func(text string) string {
		if !details {
			text = named.ReplaceAllString(text, "$1…")
		}
		return clean(text)
	})
	return d
}

// named is the ARN of a role, a user or a session of one: everything behind its kind says who it is.
var named = regexp.MustCompile(`(arn:[a-z0-9-]+:(?:iam|sts)::[0-9]*:(?:role|user|assumed-role|federated-user)/)[^\s"'<>,;()]+`)

// scrub changes every text in v, line by line.
func scrub(v reflect.Value, change func(string) string) {
	switch v.Kind() {
	case reflect.String:
		if !v.CanSet() {
			return
		}
		lines := strings.Split(v.String(), "\n")
		for i := range lines {
			lines[i] = change(lines[i])
		}
		v.SetString(strings.Join(lines, "\n"))
	case reflect.Struct:
		for _, field := range v.Fields() {
			scrub(field, change)
		}
	case reflect.Slice:
		for i := range v.Len() {
			scrub(v.Index(i), change)
		}
	}
}

func outcome(p plan.Plan, r distribution.Result) Outcome {
	switch {
	case r.Failure != "":
		return Failed
	case r.Ended.IsZero():
		return Underway
	case len(p.Steps) > 0 && len(r.Steps) == 0:
		return Planned
	}
	return Succeeded
}

// failure is why a run failed. Where it had a plan, the rest of the document tells what stands below the first line.
func failure(p plan.Plan, r distribution.Result) string {
	if len(p.Destinations)+len(p.Steps)+len(p.Findings) == 0 {
		return r.Failure
	}
	first, _, _ := strings.Cut(r.Failure, "\n")
	return strings.TrimSuffix(first, ":")
}

func headline(d Document) string {
	counts := map[distribution.State]int{}
	for _, to := range d.Destinations {
		counts[to.State]++
	}
	all := len(d.Destinations)
	switch served := counts[distribution.DestinationSucceeded]; {
	case all == 0 && d.Outcome == Failed:
		return "The run has failed"
	case all == 0 && d.Outcome == Underway:
		return "Under way"
	case all == 0 && d.Outcome == Planned:
		return "Planned"
	case all == 0 && len(d.Shares) > 0:
		return "Shared in " + distribution.Count(len(d.Shares), "Region", "Regions")
	case all == 0:
		return "What was unfinished is removed"
	case d.Outcome == Planned:
		return "Planned for " + distribution.Count(all, "destination", "destinations")
	case d.Outcome == Underway:
		return fmt.Sprintf("Under way: %d of %s served", served, distribution.Count(all, "destination", "destinations"))
	case served == 0 && counts[distribution.Waiting] == all:
		return "Nothing was begun for " + distribution.Count(all, "destination", "destinations")
	case served == all:
		return fmt.Sprintf("All of %s served", distribution.Count(all, "destination", "destinations"))
	default:
		return fmt.Sprintf("%d of %s without an image", all-served, distribution.Count(all, "destination", "destinations"))
	}
}

func sources(p plan.Plan, r distribution.Result) []Source {
	var all []Source
	for _, image := range p.Images {
		s := Source{Account: image.Account, Region: image.Region, ImageID: image.ImageID, Causes: slices.Clone(image.Causes)}
		for _, d := range image.Devices {
			s.Volumes = append(s.Volumes, Volume{Device: d.Device, SnapshotID: d.SnapshotID, GiB: d.GiB, Key: d.KeyARN, Staged: d.Staged, StageKey: d.StageKeyARN, Why: d.Why})
		}
		all = append(all, s)
	}
	for _, end := range r.Source {
		i := slices.IndexFunc(all, func(s Source) bool { return s.Region == end.Region })
		if i < 0 {
			i = len(all)
			all = append(all, Source{Region: end.Region, ImageID: end.ImageID})
		}
		all[i].Protected = end.Protected
	}
	return all
}

// shown are the findings of a result, the graver first.
func shown(r distribution.Result, details bool) []Finding {
	sorted := slices.Clone(r.Findings)
	slices.SortStableFunc(sorted, func(a, b distribution.Finding) int { return cmp.Compare(gravity[a.Level], gravity[b.Level]) })
	var all []Finding
	for _, f := range sorted {
		one := Finding{Level: string(f.Level), Rule: f.Reference, Field: f.Field, Account: f.Location.Account, Region: f.Location.Region, Operation: f.Operation,
			Resource: f.Resource, Summary: f.Summary, Because: f.Detail, Next: f.Remediation}
		if f.Level == distribution.Refused && len(r.Steps) > 0 {
			one.Level = "failed"
		}
		if details {
			one.Principal, one.Policies = f.Principal, additions(f)
		}
		all = append(all, one)
	}
	return all
}

// additions are the statements of a finding, those for one policy together.
func additions(f distribution.Finding) []Addition {
	var all []Addition
	for _, a := range f.PolicyStatements {
		if len(all) == 0 || all[len(all)-1].Policy != a.Policy {
			all = append(all, Addition{Policy: a.Policy})
		}
		last := &all[len(all)-1]
		last.Statements = append(last.Statements, a.Statement.String())
	}
	return all
}

func destinations(p plan.Plan, r distribution.Result, findings []Finding) []Destination {
	all := make([]Destination, len(p.Destinations))
	at := make(map[distribution.Location]*Destination, len(all))
	for i, d := range p.Destinations {
		all[i] = Destination{Account: d.At.Account, Region: d.At.Region, Target: d.Target, Optional: d.Optional, State: distribution.Waiting, Name: d.Name, Key: d.KeyARN, From: d.FromRegion,
			Method: d.Method, Because: d.MethodWhy, Pointers: slices.Clone(d.Pointers)}
		if d.LeftOut {
			all[i].State = distribution.Excluded
		}
		at[d.At] = &all[i]
	}
	for _, end := range r.Destinations {
		if d := at[end.At]; d != nil {
			d.State, d.ImageID = end.State, end.ImageID
		}
	}
	for _, made := range r.Images {
		if d := at[made.At]; d != nil {
			d.Pointers = slices.Clone(made.Pointers)
		}
	}
	for i := len(findings) - 1; i >= 0; i-- { // the first is the gravest
		f := findings[i]
		if d := at[distribution.Location{Account: f.Account, Region: f.Region}]; d != nil && (d.State == distribution.DestinationFailed || d.State == distribution.Excluded) && f.Level != string(distribution.Note) {
			d.Why = f.Summary
		}
	}
	whose := make(map[distribution.StepID]distribution.Location, len(p.Steps))
	for _, s := range p.Steps {
		whose[s.Meta().ID] = s.Meta().Destination
	}
	for _, e := range r.Steps {
		d := at[whose[e.Step]]
		if d == nil || e.Begun.IsZero() {
			continue
		}
		if d.Begun.IsZero() || e.Begun.Before(d.Begun) {
			d.Begun = e.Begun
		}
		if e.Ended.After(d.Ended) {
			d.Ended = e.Ended
		}
	}
	return all
}

func shares(p plan.Plan, r distribution.Result) []Share {
	var all []Share
	for _, planned := range p.Shares {
		s := Share{Names: strings.Join(planned.Names, ", "), Account: planned.At.Account, Region: planned.At.Region, With: planned.With.String()}
		if !planned.Staged {
			s.ImageID = planned.ImageID
		}
		if i := slices.IndexFunc(r.Shares, func(done distribution.Shared) bool { return done.At == planned.At }); i >= 0 {
			s.ImageID, s.Done = r.Shares[i].ImageID, true
		}
		all = append(all, s)
	}
	return all
}

func grants(p plan.Plan, r distribution.Result) []Grant {
	var all []Grant
	for _, s := range p.Steps {
		if g, is := s.(*step.CreateGrant); is && g.Lasting {
			all = append(all, Grant{Account: g.Location.Account, Region: g.Location.Region, Grantee: g.Grantee, Key: g.KeyARN, Name: g.Name, For: g.Granted().For(),
				Done: slices.ContainsFunc(r.Grants, func(o distribution.KeyGrantResult) bool {
					return o.At == g.Location && o.KeyARN == g.KeyARN && o.Name == g.Name
				})})
		}
	}
	return all
}

// copies are the copies that were begun.
func copies(p plan.Plan, r distribution.Result) []Copy {
	ends := make(map[distribution.StepID]distribution.StepResult, len(r.Steps))
	for _, e := range r.Steps {
		ends[e.Step] = e
	}
	var all []Copy
	for _, s := range p.Steps {
		c, is := s.(step.Copying)
		head := s.Meta()
		e := ends[head.ID]
		if !is || e.Begun.IsZero() {
			continue
		}
		all = append(all, Copy{Step: head.ID, Account: head.Location.Account, Region: head.Location.Region, Staged: head.Destination == distribution.Location{}, Device: c.Copies().Device, GiB: c.Copies().GiB,
			Begun: e.Begun, Ended: e.Ended, Made: e.Made, Failed: e.Failure != nil})
	}
	return all
}

// fidelity is what becomes of each attribute, the lost first, once for all images that share its fate.
func fidelity(p plan.Plan) []Attribute {
	order := []distribution.AttributeHandling{distribution.Lost, distribution.Set, distribution.Kept}
	var all []Attribute
	found := map[distribution.AttributeOutcome]int{}
	for _, d := range p.Destinations {
		for _, c := range d.Carried {
			if !slices.Contains(order, c.How) { // AWS's own words about an image: nothing to carry
				continue
			}
			i, known := found[c]
			if !known {
				i = len(all)
				found[c] = i
				all = append(all, Attribute{Name: c.Attribute, How: c.How, Why: c.Why})
			}
			all[i].Images++
		}
	}
	slices.SortStableFunc(all, func(a, b Attribute) int {
		return cmp.Compare(slices.Index(order, a.How), slices.Index(order, b.How))
	})
	return all
}

// JSON is the document for machines, an end of line after it.
func (d Document) JSON() ([]byte, error) {
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}
