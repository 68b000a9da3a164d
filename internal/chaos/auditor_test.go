// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package chaos_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/fixture"
)

// These are the keys of the tags on what a run creates, and the prefixes of those on a source image.
const (
	tagSource     = fixture.TagPrefix + "source"
	tagRun        = fixture.TagPrefix + "run"
	tagSignature  = fixture.TagPrefix + "signature"
	tagRecord     = fixture.TagPrefix + "run:"
	tagSigningKey = fixture.TagPrefix + "signing-key:"
	tagBaseline   = fixture.TagPrefix + "baseline"
	tagPermanent  = fixture.TagPrefix + "permanent:"
)

// auditor sees every mutating call of the runs. It tracks which run owns which resource, and collects violations.
type auditor struct {
	images    []string            // source images, the oldest first
	shared    map[string]string   // source image by the ID of the image itself and of each of its snapshots
	permitted map[string][]string // accounts that had a permission before any run, by the same IDs
	before    []fixture.Item
	allowed   []string // accounts that may get a permission

	starting sync.Mutex // held while an attempt is started: the fixture runs one image at a time

	mu        sync.Mutex
	clients   map[*awssim.CrashingClient]*attemptLog
	attempts  []*attemptLog
	runs      map[string]*runLog   // by id
	resources map[string]*resource // that runs created, by id
	published map[string]string    // image that a parameter or a launch template names
	versions  map[string]string    // image of a version of a launch template
	adoptions int
	deletions int
	listed    int // resources that the last clean-up lists
	repeats   int // of finished runs
	violated  map[string]bool
	report    func(format string, arguments ...any)
}

// attemptLog is what the auditor knows about an attempt.
type attemptLog struct {
	attempt
	number int
	run    *fixture.Run
	image  string
	ids    []string             // of its records, the current one last
	reads  map[string]time.Time // when it last asked AWS about a resource, by its id
	shares map[string]bool      // permissions that it gave: id of the resource, and the account
	calls  []*span
}

// runLog is what the records of a run contained.
type runLog struct {
	id      string
	attempt *attemptLog
	began   time.Time // by the clock of the test
	until   time.Time // by AWS's clock
	ended   time.Time // by the clock of the test; zero while the run is active
}

// resource is a resource that a run created.
type resource struct {
	creator  *attemptLog
	created  time.Time
	owners   []ownership       // the current one last
	tags     map[string]string // of the plugin, as runs wrote them last
	tampered time.Time         // when another user last wrote its tags; zero if never
}

// ownership says which run owns a resource, from the time when the run created, signed or adopted it.
type ownership struct {
	run       string
	at        time.Time
	signature string
}

func newAuditor(w *fixture.World, images []string) *auditor {
	w.Helper()
	a := &auditor{
		images:    images,
		shared:    map[string]string{},
		permitted: map[string][]string{},
		before:    w.Inventory(),
		allowed:   append(slices.Clone(w.Targets), fixture.Friend),
		clients:   map[*awssim.CrashingClient]*attemptLog{},
		runs:      map[string]*runLog{},
		resources: map[string]*resource{},
		published: map[string]string{},
		versions:  map[string]string{},
		violated:  map[string]bool{},
		report:    w.Errorf,
	}
	for _, image := range w.Images(fixture.Source, fixture.Home) {
		if !slices.Contains(images, *image.ImageId) {
			continue
		}
		for _, id := range append(fixture.SnapshotsOf(image), *image.ImageId) {
			a.shared[id] = *image.ImageId
		}
	}
	for _, item := range a.before {
		if item.Kind == fixture.SnapshotPermission || item.Kind == fixture.LaunchPermission {
			a.permitted[item.ID] = append(a.permitted[item.ID], item.With)
		}
	}
	w.OnMutation(a.seeMutation)
	return a
}

func (a *auditor) register(client *awssim.CrashingClient, log *attemptLog) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.attempts = append(a.attempts, log)
	a.clients[client], log.number, log.shares = log, len(a.attempts), map[string]bool{}
}

// violation reports a violation of an invariant, once for each text.
func (a *auditor) violation(invariant int, format string, arguments ...any) {
	text := fmt.Sprintf("invariant %d: ", invariant) + fmt.Sprintf(format, arguments...)
	if !a.violated[text] {
		a.violated[text] = true
		a.report("%s", text)
	}
}

// seeSigned collects the resources that a run asks AWS about. Grants cannot be listed by ID, so a list of a key counts
// for all of its grants.
func (a *auditor) seeSigned(log *attemptLog, call fixture.Call) {
	_, operation, _ := strings.Cut(call.Action, ":")
	if !strings.HasPrefix(operation, "Describe") && !strings.HasPrefix(operation, "List") {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, values := range call.Params {
		for _, value := range values {
			log.reads[value] = call.Time
		}
	}
	if operation == "ListGrants" {
		log.reads[anyGrant] = call.Time
	}
}

const anyGrant = "grants"

// seeCall collects the tags that other users write on what runs created.
func (a *auditor) seeCall(r awssim.Record) {
	if !strings.HasSuffix(r.Principal, ":role/tagger") {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range r.Changed {
		if found := a.resources[id]; found != nil {
			found.tampered = time.Now()
		}
	}
}

// seeMutation judges a call, and then updates what the auditor knows.
func (a *auditor) seeMutation(m awssim.Mutation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	log := a.clients[m.Client]
	if log == nil {
		return // the test itself made the call
	}
	if *seed != 0 {
		fmt.Printf("%s run %d %s by %s in %s: %v %s\n",
			m.At.Format(time.DateTime), log.number, m.Action, m.Account, m.Region, m.Changed, m.Fault)
	}
	a.judge(log, m)
	a.noteRecord(log, m)
	a.noteCreated(log, m)
	a.noteTagged(log, m)
	a.notePermissions(log, m)
	a.notePublished(m)
}

var recordValue = regexp.MustCompile(`^(working|ended) .*until=(\S+) `)

// noteRecord collects the run records that a call writes.
func (a *auditor) noteRecord(log *attemptLog, m awssim.Mutation) {
	in, ok := m.Input.(*ec2.CreateTagsInput)
	if !ok || !slices.Contains(in.Resources, log.image) {
		return
	}
	for key, value := range fixture.Tags(in.Tags) {
		id, isRecord := strings.CutPrefix(key, tagRecord)
		found := recordValue.FindStringSubmatch(value)
		if !isRecord || found == nil {
			continue
		}
		run := a.runs[id]
		if run == nil {
			run = &runLog{id: id, attempt: log, began: time.Now()}
			a.runs[id] = run
			log.ids = append(log.ids, id)
		}
		if until, err := time.Parse(time.RFC3339, found[2]); err == nil && until.After(run.until) {
			run.until = until
		}
		if found[1] == "ended" && run.ended.IsZero() {
			run.ended = time.Now()
		}
	}
}

func (a *auditor) noteCreated(log *attemptLog, m awssim.Mutation) {
	for _, id := range created(m) {
		tags := map[string]string{}
		if r, ok := m.After.Resource(id); ok {
			tags = fixture.OurTags(r.Tags)
		}
		a.resources[id] = &resource{
			creator: log,
			created: time.Now(),
			owners:  []ownership{{log.current(), time.Now(), tags[tagSignature]}},
			tags:    tags,
		}
	}
}

// created returns the ids of the resources and grants that a call created.
func created(m awssim.Mutation) (ids []string) {
	for _, id := range m.Changed {
		_, existed := m.Before.Resource(id)
		_, exists := m.After.Resource(id)
		_, wasGranted := m.Before.Grant(id)
		_, isGranted := m.After.Grant(id)
		if !existed && exists || !wasGranted && isGranted {
			ids = append(ids, id)
		}
	}
	return ids
}

// current returns the id of the attempt's last record; empty before the first.
func (log *attemptLog) current() string {
	if len(log.ids) == 0 {
		return ""
	}
	return log.ids[len(log.ids)-1]
}

// noteTagged updates the owners of the resources that a call tags.
func (a *auditor) noteTagged(log *attemptLog, m awssim.Mutation) {
	in, ok := m.Input.(*ec2.CreateTagsInput)
	if !ok {
		return
	}
	tags := fixture.OurTags(fixture.Tags(in.Tags))
	for _, id := range in.Resources {
		found := a.resources[id]
		if found == nil {
			continue
		}
		maps.Copy(found.tags, tags)
		if run := tags[tagRun]; run != "" {
			if !slices.Contains(log.ids, found.owner().run) {
				a.adoptions++
			}
			found.owners = append(found.owners, ownership{run, time.Now(), tags[tagSignature]})
		}
	}
}

func (r *resource) owner() ownership { return r.owners[len(r.owners)-1] }

// ownerAt returns who owned a resource at a time.
func (r *resource) ownerAt(at time.Time) ownership {
	owner := r.owners[0]
	for _, o := range r.owners {
		if !o.at.After(at) {
			owner = o
		}
	}
	return owner
}

// isIntact reports whether a resource has the tags that runs gave it.
func (r *resource) isIntact(tags map[string]string) bool {
	return maps.Equal(r.tags, fixture.OurTags(tags))
}

// isOver reports whether a run no longer owned its resources at the time of the call, minus before.
func (a *auditor) isOver(id string, before time.Duration, m awssim.Mutation) bool {
	run := a.runs[id]
	if run == nil {
		return false
	}
	at := time.Now().Add(-before)
	return !run.ended.IsZero() && !run.ended.After(at) || m.At.Add(-before).After(run.until.Add(grace))
}

// grace is how long the run of a lapsed record still counts as active.
const grace = 5 * time.Minute

// notePermissions collects the permissions that a call adds.
func (a *auditor) notePermissions(log *attemptLog, m awssim.Mutation) {
	id, added, _ := permissions(m)
	for _, account := range added {
		log.shares[id+" "+account] = true
	}
}

// permissions returns the accounts whose permission on a snapshot or image a call adds or removes. Groups and
// organizations are returned unchanged.
func permissions(m awssim.Mutation) (id string, added, removed []string) {
	switch in := m.Input.(type) {
	case *ec2.ModifySnapshotAttributeInput:
		if change := in.CreateVolumePermission; change != nil {
			added, removed = volumeAccounts(change.Add), volumeAccounts(change.Remove)
		}
		return *in.SnapshotId, added, removed
	case *ec2.ModifyImageAttributeInput:
		if change := in.LaunchPermission; change != nil {
			added, removed = launchAccounts(change.Add), launchAccounts(change.Remove)
		}
		return *in.ImageId, added, removed
	}
	return "", nil, nil
}

func volumeAccounts(permissions []ec2types.CreateVolumePermission) (accounts []string) {
	for _, p := range permissions {
		accounts = append(accounts, aws.ToString(p.UserId)+string(p.Group))
	}
	return accounts
}

func launchAccounts(permissions []ec2types.LaunchPermission) (accounts []string) {
	for _, p := range permissions {
		accounts = append(accounts, aws.ToString(p.UserId)+string(p.Group)+aws.ToString(p.OrganizationArn)+
			aws.ToString(p.OrganizationalUnitArn))
	}
	return accounts
}

// notePublished collects which image the parameters and launch templates name.
func (a *auditor) notePublished(m awssim.Mutation) {
	if out, ok := m.Output.(*ec2.CreateLaunchTemplateVersionOutput); ok {
		version := out.LaunchTemplateVersion
		a.versions[versionKey(m, *version.VersionNumber)] = aws.ToString(version.LaunchTemplateData.ImageId)
	}
	if name, image := a.publication(m); name != "" {
		a.published[name] = image
	}
}

func versionKey(m awssim.Mutation, version any) string {
	return fmt.Sprint(m.Account, " ", m.Region, " ", version)
}

// permanent returns the accounts with a permanent permission according to the tags of a source image.
func permanent(tags map[string]string) (accounts []string) {
	for key, value := range tags {
		if strings.HasPrefix(key, tagPermanent) {
			accounts = append(accounts, strings.Split(value, ",")...)
		}
	}
	return accounts
}
