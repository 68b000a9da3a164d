// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package runrecord

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/invariant"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/recovery"
)

const (
	lease        = 45 * time.Minute // how far ahead of AWS's time a record is written
	firstRenewal = 30 * time.Second // early, so that two runs that begin at the same time soon see each other's renewal
	renewEvery   = 5 * time.Minute
	retryAfter   = 30 * time.Second // after a renewal that failed
	putTimeout   = 2 * time.Minute
	lookEvery    = 20 * time.Second // while another run's record is watched
)

// Run is the record of this run on each source image that it uses.
type Run struct {
	ID      string
	clock   *Clock
	options Options

	writing sync.Mutex // held while a record is written: one at a time

	mu    sync.Mutex
	began time.Time
	until time.Time // when the first of the source images' records lapses. Zero before Begin has written them

	stop    context.CancelFunc // of the renewal
	stopped chan struct{}
}

// Options are the contents of a record, and where it is stored.
type Options struct {
	Stores     []Store           // one for each source image that is used
	Resumes    string            // id of the run that this one resumes. Empty if none
	TakesOver  Takeover          // ended runs whose protection this run disables
	Regions    []string          // where the run creates resources
	Scope      string            // digest of the accounts and keys that it uses
	Protection Protection        // Held or Needed for the image of a build
	Report     func(text string) // receives what the run waits for, from any goroutine. Nil if nothing listens
}

// Takeover says which ended runs a run replaces, in addition to the run that it resumes. It disables the protection
// that they hold and deletes their records.
type Takeover int

// The values of Takeover.
const (
	TakesOverNone  Takeover = iota
	TakesOverScope          // runs with the same accounts and keys, because this run finds all of their resources
	TakesOverAll
)

// New returns a run with a random ID. Check refuses its mutating calls until Begin has written its record.
func New(clock *Clock) *Run { return &Run{ID: newID(), clock: clock} }

// newID returns a UUID. The ID of Packer's run cannot be used, because all blocks of one build share it.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// IsRecorded reports whether the run has tried to write its record. It may exist even if the response was lost.
func (r *Run) IsRecorded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.began.IsZero()
}

// Use sets the stores and the contents of this run's record. It is needed to read records before Begin, which also sets
// them.
func (r *Run) Use(options Options) { r.options = options }

// Begin writes the record, renews it regularly, and waits until the record of every other run is renewed, ended or
// lapsed. The returned context ends with ErrLapsed if the record cannot be renewed. Call End after Begin, even if Begin
// fails.
func (r *Run) Begin(ctx context.Context, options Options) (context.Context, error) {
	r.options = options
	if _, ok := r.clock.Now(); !ok { // any response brings AWS's time
		if _, err := r.Records(ctx); err != nil {
			return ctx, err
		}
	}
	if err := r.put(ctx); err != nil {
		return ctx, err
	}

	running, lapse := context.WithCancelCause(ctx)
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop, r.stopped = stop, make(chan struct{})
	go func() {
		defer close(r.stopped)
		if err := r.renew(renewing); err != nil {
			lapse(err)
		}
	}()
	return running, r.waitForOthers(running)
}

// errNoTime means that no response had a Date header with AWS's time.
var errNoTime = errors.New("no response of AWS had a Date header")

// put writes the record on every source image, for the next 45 minutes. until changes only if all were written.
func (r *Run) put(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	now, ok := r.clock.Now()
	if !ok {
		return errNoTime
	}

	r.mu.Lock()
	first := r.until.IsZero()
	if r.began.IsZero() {
		r.began = now
	}
	record := r.record(now.Add(lease))
	lapsed := !first && now.After(r.until.Add(-fenceBefore))
	r.mu.Unlock()
	if lapsed {
		return ErrLapsed
	}

	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	for _, store := range r.options.Stores {
		if invariant.Record.IsOff() {
			break
		}
		if err := store.Put(ctx, record); err != nil {
			return fmt.Errorf("write the record of the run: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = record.Until
	return nil
}

// record returns the record of this run, valid until a time. The caller must hold mu.
func (r *Run) record(until time.Time) Record {
	return Record{
		ID:         r.ID,
		Began:      r.began,
		Until:      until.UTC().Truncate(time.Second),
		Protection: r.options.Protection,
		Regions:    r.options.Regions,
		Scope:      r.options.Scope,
	}
}

// renew renews the record until the context ends. It returns ErrLapsed if that was not possible in time.
func (r *Run) renew(ctx context.Context) error {
	wait := firstRenewal
	for {
		if sleep(ctx, wait) != nil {
			return nil
		}
		err := recovery.Do(func() error { return r.put(ctx) })
		switch {
		case errors.Is(err, ErrLapsed):
			return err
		case err != nil:
			wait = retryAfter
			r.report("Renewing the record of this run failed, trying again in %v: %v", retryAfter, err)
		default:
			wait = renewEvery
		}
	}
}

// waitForOthers waits until each other record that has not lapsed is renewed, ended or lapsed. If a run renews its
// record, it is active, and both runs continue. If it has crashed, its record lapses, and this run may replace it.
func (r *Run) waitForOthers(ctx context.Context) error {
	first := map[string]time.Time{} // until of each record when it was seen first
	for {
		records, err := r.Records(ctx)
		if err != nil {
			return err
		}
		waits := false
		for _, other := range records.Working() {
			until, seen := first[other.ID]
			if !seen {
				first[other.ID] = other.Until
				r.report("Waiting for run %s, which works on the same image: until it renews its record, ends, or lapses at %s",
					other.ID, formatTime(other.Until.Add(grace)))
			}
			waits = waits || !seen || !other.Until.After(until)
		}
		if !waits {
			return nil
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

func (r *Run) report(format string, arguments ...any) {
	if r.options.Report != nil {
		r.options.Report(fmt.Sprintf(format, arguments...))
	}
}

// Records reads the records of all runs. Each deletion, withdrawal and adoption reads them again. others are the stores
// of source images that this run does not use.
func (r *Run) Records(ctx context.Context, others ...Store) (Records, error) {
	result := Records{own: r.ID, resumed: r.options.Resumes, takesOver: r.options.TakesOver, scope: r.options.Scope}
	merged := map[string]Record{}
	for _, store := range slices.Concat(r.options.Stores, others) {
		records, err := store.List(ctx)
		if err != nil {
			return result, fmt.Errorf("read the records of runs: %w", err)
		}
		for _, record := range records {
			if other, ok := merged[record.ID]; ok {
				record = record.merge(other)
			}
			merged[record.ID] = record
		}
	}
	for _, record := range merged {
		result.all = append(result.all, record)
	}
	slices.SortFunc(result.all, func(a, b Record) int { return cmp.Compare(a.ID, b.ID) })

	var ok bool
	if result.now, ok = r.clock.Now(); !ok {
		return result, errNoTime
	}
	return result, nil
}

// End stops the renewal, records that the run has ended, and reads the records of other runs. Check still allows calls,
// so that the run can clean up. holdsProtection is true after a failure, because the resumed run needs the protection.
// After a success, the record says that this run will disable the protection. If the run is killed before it does, a
// later run does.
func (r *Run) End(ctx context.Context, holdsProtection bool) (Records, error) {
	if r.stop != nil {
		r.stop()
		<-r.stopped
	}
	now, _ := r.clock.Now()
	r.mu.Lock()
	record, wasTried := r.record(r.until), !r.began.IsZero()
	r.mu.Unlock()
	switch {
	case r.options.Protection != ProtectionHeld:
		record.Protection = NoProtection
	case !holdsProtection:
		record.Protection = ProtectionLifting
	}
	if !wasTried { // the run failed before Begin, so its record only says that the image must stay protected
		record.Began, record.Until = now, now.UTC().Truncate(time.Second)
	}
	if wasTried || record.Protection == ProtectionHeld { // wasTried: the response to the first Put may have been lost
		for _, store := range r.options.Stores {
			if err := store.End(ctx, record); err != nil {
				return Records{}, fmt.Errorf("write that the run has ended: %w", err)
			}
		}
	}
	return r.Records(ctx)
}

// Clear deletes the records of ended runs, including this run's. It keeps a record that holds the protection for a run
// that may be resumed. Call it only when no temporary resource is left and no other run is active.
func (r *Run) Clear(ctx context.Context) error {
	records, err := r.Records(ctx)
	if err != nil {
		return err
	}
	for _, store := range r.options.Stores {
		all, err := store.List(ctx)
		if err != nil {
			return fmt.Errorf("read the records of runs: %w", err)
		}
		for _, record := range all {
			kept := record.Protection == ProtectionHeld && !records.isOurs(record.ID) && !records.replaces(record)
			if kept || !records.IsOver(record.ID, record.Began) {
				continue
			}
			if err := store.Delete(ctx, record); err != nil {
				return fmt.Errorf("delete the record of run %s: %w", record.ID, err)
			}
		}
	}
	return nil
}
