// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package execute_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// Whatever AWS does, and whenever runs begin, die and meet: a calm run afterwards ends as if nothing had happened, and no run ever
// did what none may do.
func TestChaosEndsInOrder(t *testing.T) {
	tried := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	switch {
	case *seed != 0:
		tried = []uint64{*seed}
	case *whole:
		tried = nil
		for n := range *seeds {
			tried = append(tried, uint64(n+1))
		}
	}
	violations := 0
	for _, n := range tried {
		for _, violation := range slices.Concat(chaos(t, n, nil), chaos(t, n, imagesAndShares), apart(t, n)) {
			violations++
			t.Errorf("seed %d: %s; again with: go test ./internal/execute -run TestChaosEndsInOrder -seed %d", n, violation, n)
		}
	}
	if *whole {
		fmt.Printf("seeds: %d, violations: %d\n", len(tried), violations)
	}
}

// chaos is one world with faults in which two runs of one image meet, one of which may die; then the calm run.
func chaos(t *testing.T, n uint64, with func(*distribution.Request)) (violations []string) {
	synctest.Test(t, func(t *testing.T) {
		drawn := rand.New(rand.NewPCG(n, 0))
		targets := []string{"222222222222", "333333333333"}[:1+drawn.IntN(2)]
		regions := []string{home, away}[:1+drawn.IntN(2)]
		h := build(t, mixed[drawn.IntN(len(mixed)):], targets, regions, awssim.WithSeed(n))
		h.befriend(with)
		awssim.WithChaos(0.3 * drawn.Float64())(h.World)
		ended := make(chan struct{})
		for i, begins := range []time.Duration{0, time.Duration(drawn.Int64N(int64(20 * time.Minute)))} {
			cut := 0
			if drawn.IntN(2) == 0 {
				cut = 1 + drawn.IntN(150)
			}
			lost := drawn.IntN(2) == 0
			time.AfterFunc(begins, func() {
				ctx, die := context.WithCancelCause(t.Context())
				defer die(nil)
				_, _ = h.attempt(ctx, h.NewCrashingClient(cut, lost, die), fmt.Sprint("run-", i))
				ended <- struct{}{}
			})
		}
		<-ended
		<-ended
		time.Sleep(time.Hour) // what the dead had under way ends
		awssim.WithChaos(0)(h.World)
		unproven := h.unproven()
		result, err := h.attempt(t.Context(), h.NewCrashingClient(0, false, nil), "run-calm")
		if h.untouched(unproven) {
			violations = h.forbidden()
			return
		}
		if err != nil {
			violations = append(violations, err.Error())
		}
		for _, f := range result.Findings {
			violations = append(violations, fmt.Sprintf("finding %s: %s: %s", f.Resource, f.Summary, f.Detail))
		}
		if missing, duplicates, orphans := h.census(); missing+duplicates+orphans > 0 {
			violations = append(violations, fmt.Sprintf("%d destinations without image, %d images too many, %d orphans", missing, duplicates, orphans))
		}
		violations = append(violations, h.forbidden()...)
		time.Sleep(10 * time.Minute)
	})
	return violations
}

// apart is one world with faults in which two templates hand one image on at once, each to its own account. A run that is not cut off
// serves its account whatever the other does; then a calm run of each.
func apart(t *testing.T, n uint64) (violations []string) {
	synctest.Test(t, func(t *testing.T) {
		drawn := rand.New(rand.NewPCG(n, 1))
		targets := []string{"222222222222", "333333333333"}
		regions := []string{home, away}[:1+drawn.IntN(2)]
		h := build(t, mixed[drawn.IntN(len(mixed)):], targets, regions, awssim.WithSeed(n))
		awssim.WithChaos(0.2 * drawn.Float64())(h.World)
		ended := make(chan []string)
		for i, begins := range []time.Duration{0, time.Duration(drawn.Int64N(int64(20 * time.Minute)))} {
			cut := 0
			if drawn.IntN(3) == 0 {
				cut = 1 + drawn.IntN(100)
			}
			time.AfterFunc(begins, func() {
				ctx, die := context.WithCancelCause(t.Context())
				defer die(nil)
				result, err := h.attempt(ctx, h.NewCrashingClient(cut, false, die), fmt.Sprint("run-", i), targets[i])
				var found []string
				if served := len(result.Images); cut == 0 && served != len(regions) {
					found = append(found, fmt.Sprintf("%s has %d images of %d: %v; %+v", targets[i], served, len(regions), err, result.Findings))
				}
				ended <- found
			})
		}
		violations = slices.Concat(<-ended, <-ended)
		time.Sleep(time.Hour) // what the dead had under way ends
		awssim.WithChaos(0)(h.World)
		unproven := h.unproven()
		for i, target := range targets {
			result, err := h.attempt(t.Context(), h.NewCrashingClient(0, false, nil), fmt.Sprint("run-calm-", i), target)
			if err != nil || len(result.Images) != len(regions) {
				violations = append(violations, fmt.Sprintf("%s has %d images of %d in the end: %v; %+v", target, len(result.Images), len(regions), err, result.Findings))
			}
		}
		if h.untouched(unproven) {
			violations = h.forbidden()
			return
		}
		if missing, duplicates, orphans := h.census(); missing+duplicates+orphans > 0 {
			violations = append(violations, fmt.Sprintf("%d destinations without image, %d images too many, %d orphans", missing, duplicates, orphans))
		}
		violations = append(violations, h.forbidden()...)
		time.Sleep(10 * time.Minute)
	})
	return violations
}

// forbidden are the calls that no run may ever make: public shares, shares with strangers, shares of images that nobody asked for.
func (h *house) forbidden() (found []string) {
	known := append(slices.Clone(h.targets), h.friends...)
	for _, r := range h.Records() {
		if r.Action == "ec2:ModifyImageAttribute" && len(h.friends) == 0 {
			found = append(found, r.Action)
		}
		for _, ask := range r.Authorizations {
			for key, values := range ask.Context {
				public := strings.EqualFold(key, "ec2:Add/group")
				strangers := strings.EqualFold(key, "ec2:Add/userId") && slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(known, v) })
				if public || strangers {
					found = append(found, fmt.Sprintf("%s with %s = %v", r.Action, key, values))
				}
			}
		}
	}
	return found
}
