// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/plan"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/step"
)

// Input holds what NewManifest describes.
type Input struct {
	PluginVersion string
	Mode          Mode
	BuilderType   string // empty if unknown
	Build         distribution.Build
	Plan          plan.Plan // zero if the run ended before it had a plan
	Result        distribution.Result
	Canceled      bool
	RunID         string
	ResumedRunID  string // empty for a run of its own
	ImageFamily   string // empty if the template has none
	Resume        *Resume
	UpdatedAt     time.Time
}

// NewManifest returns the manifest of a run at a moment.
func NewManifest(in Input) Manifest {
	p, r := in.Plan, in.Result
	m := Manifest{
		SchemaVersion: SchemaVersion,
		PluginVersion: in.PluginVersion,
		Mode:          in.Mode,
		Status:        runStatus(in),
		Error:         OptionalString(runError(p, r)),
		Run: Run{
			ID:            OptionalString(in.RunID),
			ResumedRunID:  OptionalString(in.ResumedRunID),
			PackerRunUUID: OptionalString(in.Build.RunID),
			BuildName:     OptionalString(in.Build.Name),
			BuilderType:   OptionalString(in.BuilderType),
			StartedAt:     Time{r.Begun},
			UpdatedAt:     Time{in.UpdatedAt},
			EndedAt:       Time{r.Ended},
		},
		Estimate:              newEstimate(p.Estimate),
		SourceAMIs:            newSourceAMIs(in),
		Destinations:          newDestinations(in),
		Shares:                newShares(p, r),
		KMSGrants:             newKMSGrants(p, r),
		Usage:                 newUsage(r.Usage),
		LeftBehind:            newRetainedResources(r.Left),
		LeftBehindUSDPerMonth: distribution.USDPerMonth(r.Left),
		Resume:                in.Resume,
	}
	m.addFindings(r.Findings, NewLabels(p))
	m.Steps = newSteps(p, r, m.Findings)
	m.summarize()
	scrub(reflect.ValueOf(&m).Elem(), clean)
	return m
}

// scrub changes every text in a value, line by line.
func scrub(v reflect.Value, change func(string) string) {
	switch v.Kind() {
	case reflect.String:
		lines := strings.Split(v.String(), "\n")
		for i := range lines {
			lines[i] = change(lines[i])
		}
		v.SetString(strings.Join(lines, "\n"))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Time]() {
			return
		}
		for _, field := range v.Fields() {
			scrub(field, change)
		}
	case reflect.Slice:
		for i := range v.Len() {
			scrub(v.Index(i), change)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			scrub(v.Elem(), change)
		}
	}
}

func runStatus(in Input) Status {
	r := in.Result
	switch {
	case r.Failure != "" && in.Canceled:
		return Canceled
	case r.Failure != "":
		return Failed
	case r.Ended.IsZero():
		return Running
	case in.Mode == PlanOnly:
		return Planned
	}
	return Succeeded
}

// runError returns why the run failed. If there is a plan, it returns only the first line, because the manifest has the
// rest as data.
func runError(p plan.Plan, r distribution.Result) string {
	if len(p.Destinations)+len(p.Steps)+len(p.Findings) == 0 {
		return r.Failure
	}
	first, _, _ := strings.Cut(r.Failure, "\n")
	return strings.TrimSuffix(first, ":")
}

func newEstimate(e plan.Estimate) Estimate {
	return Estimate{
		Copies:           e.Copies,
		CopiedGiB:        e.GiBStored,
		CrossRegionGiB:   e.GiBTransferred,
		StoredGiB:        e.GiBStored - e.GiBStaged,
		DurationSeconds:  int64(e.Takes.Seconds()),
		USDPerMonth:      e.USDPerMonth(),
		USDOnce:          e.USDOnce(),
		USDTimeBasedCopy: e.USDTimed,
	}
}

func newSourceAMIs(in Input) []SourceAMI {
	all := []SourceAMI{}
	for _, image := range in.Plan.Images {
		s := SourceAMI{
			AccountID:         OptionalString(image.Account),
			Region:            image.Region,
			AMIID:             image.ImageID,
			AMIName:           OptionalString(image.Name),
			ImageFamily:       OptionalString(in.ImageFamily),
			BaseAMIID:         OptionalString(in.Build.BaseAMI),
			EncryptionReasons: listOf(image.Causes),
			Volumes:           []Volume{},
		}
		for _, d := range image.Devices {
			s.Volumes = append(s.Volumes, Volume{
				DeviceName:       d.Device,
				SnapshotID:       d.SnapshotID,
				SizeGiB:          int64(d.GiB),
				KMSKeyARN:        OptionalString(d.KeyARN),
				KMSKeyAlias:      OptionalString(in.Plan.KeyAliases[d.KeyARN]),
				Staged:           stagingStep(in.Plan.Steps, image, d) != nil,
				StagedSnapshotID: OptionalString(stagedSnapshot(in, image.Region, d.SnapshotID)),
				StagedKMSKeyARN:  OptionalString(d.StageKeyARN),
				StagedKeyAlias:   OptionalString(in.Plan.KeyAliases[d.StageKeyARN]),
				StagingReason:    OptionalString(d.Why),
			})
		}
		all = append(all, s)
	}
	for _, end := range in.Result.Source {
		i := slices.IndexFunc(all, func(s SourceAMI) bool { return s.Region == end.Region })
		if i < 0 {
			i = len(all)
			all = append(all, SourceAMI{
				Region:            end.Region,
				AMIID:             end.ImageID,
				BaseAMIID:         OptionalString(in.Build.BaseAMI),
				EncryptionReasons: []string{},
				Volumes:           []Volume{},
			})
		}
		switch {
		case end.Held:
			all[i].DeregistrationProtection = neededByOtherRuns
		case end.Protected:
			all[i].DeregistrationProtection = enabledByRun
		}
	}
	slices.SortStableFunc(all, func(a, b SourceAMI) int { return cmp.Compare(a.Region, b.Region) })
	return all
}

// stagedSnapshot returns the staged copy of a source snapshot, preferably the one in the Region of the source image.
func stagedSnapshot(in Input, region, snapshotID string) string {
	staged := ""
	for _, s := range in.Plan.Steps {
		c, ok := s.(step.Copying)
		if !ok || c.Meta().Destination != (distribution.Location{}) || c.Copies().Source.Known != snapshotID {
			continue
		}
		i := slices.IndexFunc(in.Result.Steps, func(e distribution.StepResult) bool { return e.Step == c.Meta().ID })
		if i >= 0 && (staged == "" || c.Meta().Location.Region == region) {
			staged = in.Result.Steps[i].Made
		}
	}
	return staged
}

// destinationStatus maps the states of destinations.
var destinationStatus = map[distribution.State]Status{
	distribution.Waiting:              Pending,
	distribution.InProgress:           InProgress,
	distribution.DestinationSucceeded: Succeeded,
	distribution.DestinationFailed:    Failed,
	distribution.Excluded:             Skipped,
}

func newDestinations(in Input) []Destination {
	p, r := in.Plan, in.Result
	all := make([]Destination, len(p.Destinations))
	at := make(map[distribution.Location]*Destination, len(all))
	for i, d := range p.Destinations {
		all[i] = newDestination(p, d)
		at[d.At] = &all[i]
	}
	for _, end := range r.Destinations {
		if d := at[end.At]; d != nil {
			d.Status, d.AMIID = destinationStatus[end.State], OptionalString(end.ImageID)
		}
	}
	for _, created := range r.Images {
		if d := at[created.At]; d != nil {
			d.addImage(created)
			if !created.Earlier {
				d.CreatedByRunID = OptionalString(in.RunID)
			}
		}
	}
	addStepsOfDestinations(at, p, r)
	for i := range all {
		if d := &all[i]; d.Status == Failed || d.Status == Skipped {
			d.Attributes = []Attribute{}
		}
	}
	slices.SortStableFunc(all, func(a, b Destination) int {
		return cmp.Or(cmp.Compare(a.AccountID, b.AccountID), cmp.Compare(a.Region, b.Region))
	})
	return all
}

func newDestination(p plan.Plan, d plan.DestinationPlan) Destination {
	planned := Destination{
		Target:           d.Target,
		Required:         !d.Optional,
		AccountID:        d.At.Account,
		Region:           d.At.Region,
		Status:           Pending,
		AMIName:          OptionalString(d.Name),
		SourceRegion:     OptionalString(d.FromRegion),
		CopyMethod:       OptionalString(d.Method),
		CopyMethodReason: OptionalString(d.MethodWhy),
		KMSKeyARN:        OptionalString(d.KeyARN),
		KMSKeyAlias:      OptionalString(p.KeyAliases[d.KeyARN]),
		Snapshots:        []Snapshot{},
		Attributes:       newAttributes(d.Carried),
		Published:        newPublications(d.Pointers),
		RemovedReleases:  []string{},
		FindingIDs:       []string{},
	}
	if d.LeftOut {
		planned.Status = Skipped
	}
	// The copies come from the image of their Region, or from the only image.
	for i, image := range p.Images {
		if image.Region == d.FromRegion || i == 0 {
			planned.SourceAMIID = OptionalString(image.ImageID)
		}
	}
	return planned
}

func (d *Destination) addImage(created distribution.CreatedImage) {
	d.CreatedByEarlierRun = created.Earlier
	d.Published = newPublications(created.Pointers)
	d.Snapshots = make([]Snapshot, len(created.Snapshots))
	for i, s := range created.Snapshots {
		d.Snapshots[i] = Snapshot{
			DeviceName: s.Device,
			SnapshotID: s.SnapshotID,
			SizeGiB:    int64(s.GiB),
			KMSKeyARN:  s.KeyARN,
		}
	}
}

// addStepsOfDestinations adds the times and the launch check of each destination.
func addStepsOfDestinations(at map[distribution.Location]*Destination, p plan.Plan, r distribution.Result) {
	steps := make(map[distribution.StepID]step.Step, len(p.Steps))
	for _, s := range p.Steps {
		steps[s.Meta().ID] = s
		if launch, ok := s.(step.Launching); ok {
			if d := at[launch.Meta().Destination]; d != nil {
				d.LaunchCheck = &LaunchCheck{Status: Pending, InstanceType: launch.LaunchedType()}
			}
		}
	}
	for _, e := range r.Steps {
		s := steps[e.Step]
		if s == nil || at[s.Meta().Destination] == nil {
			continue
		}
		d := at[s.Meta().Destination]
		d.addOutcome(s, e)
		if _, ok := s.(step.Launching); ok {
			d.LaunchCheck.Status = stepStatus(e)
			if d.LaunchCheck.Status == Succeeded {
				seconds := int64(e.Ended.Sub(e.Begun).Seconds())
				d.LaunchCheck.SecondsToRunning = &seconds
			}
		}
		if e.Begun.IsZero() {
			continue
		}
		if d.StartedAt.IsZero() || e.Begun.Before(d.StartedAt.Time) {
			d.StartedAt = Time{e.Begun}
		}
		if e.Ended.After(d.EndedAt.Time) {
			d.EndedAt = Time{e.Ended}
		}
	}
}

// addOutcome adds the version that a step published, or the release that it removed.
func (d *Destination) addOutcome(s step.Step, e distribution.StepResult) {
	if stepStatus(e) != Succeeded || e.Made == "" {
		return
	}
	if s.Role() == step.RemovesRelease {
		d.RemovedReleases = append(d.RemovedReleases, e.Made)
		slices.Sort(d.RemovedReleases)
	}
	setVersion(d.Published, s, e.Made)
}

// setVersion adds the version that a step published. created is the outcome of the step, such as "/golden/ami:12" or
// "lt-0a:3".
func setVersion(published []Publication, s step.Step, created string) {
	pointer, ok := s.Pointer()
	if !ok {
		return
	}
	of := newPublications([]distribution.Pointer{pointer})[0]
	version := created[strings.LastIndex(created, ":")+1:]
	for i, p := range published {
		if p.Kind == of.Kind && p.Name == of.Name {
			n, _ := strconv.ParseInt(version, 10, 64) // zero is null
			published[i].Version = OptionalInt64(n)
		}
	}
}

func newAttributes(outcomes []distribution.AttributeOutcome) []Attribute {
	all := []Attribute{}
	for _, a := range outcomes {
		outcome, known := map[distribution.AttributeHandling]string{
			distribution.Kept: kept,
			distribution.Set:  changed,
			distribution.Lost: lost,
		}[a.How]
		if known { // AWS derives the others from the image
			all = append(all, Attribute{Name: a.Attribute, Outcome: outcome, Reason: OptionalString(a.Why)})
		}
	}
	return all
}

func newPublications(pointers []distribution.Pointer) []Publication {
	all := make([]Publication, len(pointers))
	for i, p := range pointers {
		all[i] = Publication{
			Kind:   strings.ToLower(strings.ReplaceAll(p.Kind, " ", "_")),
			Name:   p.Name,
			Status: Pending,

			AMIID:         OptionalString(p.Image),
			PreviousAMIID: OptionalString(p.Names),
		}
		switch {
		case p.Held:
			all[i].Status = Held
		case p.Set:
			all[i].Status = Succeeded
		}
	}
	return all
}

func newShares(p plan.Plan, r distribution.Result) []Share {
	all := []Share{}
	for _, planned := range p.Shares {
		s := Share{
			Name:                   strings.Join(planned.Names, ", "),
			AccountID:              planned.At.Account,
			Region:                 planned.At.Region,
			AccountIDs:             listOf(planned.With.Accounts),
			OrganizationARNs:       listOf(planned.With.Organizations),
			OrganizationalUnitARNs: listOf(planned.With.Units),
			Status:                 unfinished(r),
			Published:              newPublications(planned.Pointers),
		}
		if !planned.Staged {
			s.AMIID = OptionalString(planned.ImageID)
		}
		for _, done := range r.Shares {
			if done.At == planned.At {
				s.AMIID, s.Status, s.Published = OptionalString(done.ImageID), Succeeded, newPublications(done.Pointers)
			}
		}
		all = append(all, s)
	}
	addVersionsOfShares(all, p, r)
	return all
}

// addVersionsOfShares adds the versions of the parameters that name shared images.
func addVersionsOfShares(all []Share, p plan.Plan, r distribution.Result) {
	if len(all) == 0 {
		return
	}
	created := make(map[distribution.StepID]string)
	for _, e := range r.Steps {
		if stepStatus(e) == Succeeded {
			created[e.Step] = e.Made
		}
	}
	for _, s := range p.Steps {
		base := s.Meta()
		for _, share := range all {
			isOfShare := base.Destination == distribution.Location{} && share.AccountID == base.Location.Account &&
				share.Region == base.Location.Region
			if isOfShare && created[base.ID] != "" {
				setVersion(share.Published, s, created[base.ID])
			}
		}
	}
}

// unfinished returns the status of parts of a run that have no result: pending, or failed if the run has failed.
func unfinished(r distribution.Result) Status {
	if r.Failure != "" {
		return Failed
	}
	return Pending
}

func newKMSGrants(p plan.Plan, r distribution.Result) []KMSGrant {
	all := []KMSGrant{}
	for _, s := range p.Steps {
		granting, ok := s.(step.Granting)
		if !ok {
			continue
		}
		g := granting.Granted()
		grant := KMSGrant{
			AccountID:        g.At.Account,
			Region:           g.At.Region,
			KMSKeyARN:        g.KeyARN,
			Name:             g.Name,
			GranteePrincipal: g.Grantee,
			Operations:       listOf(g.Operations),
			Temporary:        !granting.IsLasting(),
			Status:           unfinished(r),
		}
		for _, e := range r.Steps {
			if e.Step == s.Meta().ID && stepStatus(e) == Succeeded {
				grant.GrantID, grant.Status = OptionalString(e.Made), Succeeded
			}
		}
		for _, existing := range r.Grants {
			if existing.At == g.At && existing.KeyARN == g.KeyARN && existing.Name == g.Name {
				grant.GrantID, grant.Status = OptionalString(existing.GrantID), Succeeded
			}
		}
		all = append(all, grant)
	}
	return all
}

func newRetainedResources(left []distribution.RetainedResource) []RetainedResource {
	all := make([]RetainedResource, len(left))
	for i, l := range left {
		all[i] = RetainedResource{
			Kind:       l.Kind,
			AccountID:  l.At.Account,
			Region:     l.At.Region,
			ResourceID: l.Resource,
			SizeGiB:    OptionalInt64(l.GiB),
			Reason:     l.Why,

			KeptForResume: l.IsKept(),
		}
	}
	return all
}

// severities maps the levels of findings.
var severities = map[distribution.Level]Severity{
	distribution.Refused: SeverityError,
	distribution.Warning: SeverityWarning,
	distribution.Note:    SeverityNote,
}

// addFindings adds findings, and their ids to the destinations that they are about.
func (m *Manifest) addFindings(findings []distribution.Finding, labels Labels) {
	m.Findings = []Finding{}
	at := make(map[distribution.Location]*Destination, len(m.Destinations))
	for i := range m.Destinations {
		d := &m.Destinations[i]
		at[distribution.Location{Account: d.AccountID, Region: d.Region}] = d
	}
	for i, f := range bySeverity(findings) {
		finding := newFinding(fmt.Sprintf("f%d", i+1), f, labels)
		if d := at[f.Location]; d != nil {
			finding.Target = OptionalString(d.Target)
		}
		for _, location := range locations(f) {
			if d := at[location]; d != nil {
				d.FindingIDs = append(d.FindingIDs, finding.ID)
			}
		}
		m.Findings = append(m.Findings, finding)
	}
}

// locations returns the locations of a finding and of the failures with the same cause, without duplicates.
func locations(f distribution.Finding) []distribution.Location {
	all := []distribution.Location{f.Location}
	for _, failure := range f.Also {
		if !slices.Contains(all, failure.At) {
			all = append(all, failure.At)
		}
	}
	return all
}

func newFinding(id string, f distribution.Finding, labels Labels) Finding {
	finding := Finding{
		ID:               id,
		Severity:         severities[f.Level],
		Code:             OptionalString(f.Code),
		Summary:          labels.summary(f),
		Detail:           OptionalString(Sentence(f.Detail)),
		NextStep:         OptionalString(Sentence(f.Remediation)),
		AWSErrorCode:     OptionalString(f.AWSCode),
		AWSErrorMessage:  OptionalString(f.AWSMessage),
		AccountID:        OptionalString(f.Location.Account),
		Region:           OptionalString(f.Location.Region),
		Operation:        OptionalString(f.Operation),
		ResourceID:       OptionalString(f.Resource),
		Option:           OptionalString(f.Field),
		Reference:        OptionalString(f.Reference),
		PolicyStatements: []PolicyStatement{},
	}
	finding.Principal = OptionalString(f.Principal)
	for _, a := range f.PolicyStatements {
		finding.PolicyStatements = append(finding.PolicyStatements, PolicyStatement{
			PolicyType: policyType(a.Policy),
			AttachTo:   a.Policy,
			Statement:  json.RawMessage(a.Statement.String()),
		})
	}
	return finding
}

// policyType returns the kind of a policy from its description.
func policyType(policy string) string {
	for prefix, kind := range map[string]string{
		"identity policy":      identityPolicy,
		"permission set":       identityPolicy,
		"key policy":           keyPolicy,
		"session policy":       sessionPolicy,
		"permissions boundary": permissionsBoundary,
	} {
		if strings.HasPrefix(policy, prefix) {
			return kind
		}
	}
	return resourcePolicy
}

// newSteps returns the steps of the plan, and further steps of the run, such as those of a clean-up.
func newSteps(p plan.Plan, r distribution.Result, findings []Finding) []Step {
	results := make(map[distribution.StepID]distribution.StepResult, len(r.Steps))
	for _, e := range r.Steps {
		results[e.Step] = e
	}
	all := []Step{}
	for _, s := range p.Steps {
		planned := newStep(s)
		if e, started := results[s.Meta().ID]; started {
			planned.addResult(e, r, findings)
			planned.Reused = isReused(s, e)
			delete(results, s.Meta().ID)
		}
		all = append(all, planned)
	}
	for _, e := range r.Steps {
		if _, unplanned := results[e.Step]; unplanned {
			s := Step{ID: string(e.Step), AccountID: e.At.Account, Region: e.At.Region}
			s.addResult(e, r, findings)
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b Step) int {
		switch {
		case a.StartedAt.IsZero() && b.StartedAt.IsZero():
			return 0
		case a.StartedAt.IsZero():
			return 1
		case b.StartedAt.IsZero():
			return -1
		}
		return a.StartedAt.Compare(b.StartedAt.Time)
	})
	return all
}

func newStep(s step.Step) Step {
	base := s.Meta()
	planned := Step{
		ID:        string(base.ID),
		AccountID: base.Location.Account,
		Region:    base.Location.Region,
		Status:    Pending,
	}
	if permissions := s.Permissions(); len(permissions) > 0 {
		planned.Operation = OptionalString(permissions[0].Action)
	}
	if c, ok := s.(step.Copying); ok {
		copied := c.Copies()
		planned.SourceID, planned.SourceRegion = OptionalString(copied.Source.Known), OptionalString(copied.FromRegion)
		planned.DeviceName, planned.SizeGiB = OptionalString(copied.Device), OptionalInt64(copied.GiB)
		planned.Staged = base.Destination == distribution.Location{}
	}
	return planned
}

// isReused reports whether a step used the copy of an earlier run. It is false if the step had to create the copy
// again.
func isReused(s step.Step, e distribution.StepResult) bool {
	id := s.Meta().ResumeID
	return id != "" && (e.Made == "" || e.Made == id)
}

func (s *Step) addResult(e distribution.StepResult, r distribution.Result, findings []Finding) {
	s.Status = stepStatus(e)
	s.ResourceID = OptionalString(e.Made)
	s.StartedAt, s.EndedAt = Time{e.Begun}, Time{e.Ended}
	if e.Failure == nil {
		return
	}
	s.Error = OptionalString(e.Failure.Summary)
	for i, f := range bySeverity(r.Findings) {
		failures := append([]distribution.Failure{{At: f.Location, Summary: f.Summary}}, f.Also...)
		isCause := slices.Contains(failures, distribution.Failure{At: e.At, Summary: e.Failure.Summary})
		if isCause && f.Operation == e.Failure.Operation {
			s.FindingID = OptionalString(findings[i].ID)
			return
		}
	}
}

func stepStatus(e distribution.StepResult) Status {
	switch {
	case e.Skipped:
		return Skipped
	case e.Failure != nil:
		return Failed
	case e.Ended.IsZero():
		return InProgress
	}
	return Succeeded
}

// summarize counts the destinations.
func (m *Manifest) summarize() {
	m.Summary.Destinations = len(m.Destinations)
	for _, d := range m.Destinations {
		switch d.Status {
		case Succeeded:
			m.Summary.Succeeded++
		case Failed:
			m.Summary.Failed++
		case Skipped:
			m.Summary.Skipped++
		case InProgress:
			m.Summary.InProgress++
		case Pending:
			m.Summary.Pending++
		}
	}
}

// listOf returns a copy of a list. It is never nil, so that JSON shows [] for an empty list.
func listOf(list []string) []string { return append([]string{}, list...) }
