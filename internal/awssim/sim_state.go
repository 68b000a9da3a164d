// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
)

// state holds all resources of the world. Each service has its own part.
type state struct {
	storageState // snapshots, volumes, images and settings
	computeState // instances and their dependencies
	kmsState
	identityState // accounts, users, roles, sessions and organizations
	parameterState
	licenseState
	randomCounts map[uint64]int // number of random values by the hash of their purpose
}

func newState() state {
	return state{
		storageState:   newStorageState(),
		computeState:   newComputeState(),
		kmsState:       newKMSState(),
		identityState:  newIdentityState(),
		parameterState: newParameterState(),
		licenseState:   newLicenseState(),
		randomCounts:   map[uint64]int{},
	}
}

// location is an account and a Region.
type location struct{ account, region string }

// orderedMap is a map that keeps the order of insertion.
type orderedMap[T any] struct {
	keys   []string
	values map[string]T
}

func newOrderedMap[T any]() orderedMap[T] { return orderedMap[T]{values: map[string]T{}} }

func (s *orderedMap[T]) put(id string, item T) {
	if _, ok := s.values[id]; !ok {
		s.keys = append(s.keys, id)
	}
	s.values[id] = item
}

func (s *orderedMap[T]) get(id string) (T, bool) { item, ok := s.values[id]; return item, ok }

func (s *orderedMap[T]) remove(id string) {
	if _, ok := s.values[id]; ok {
		delete(s.values, id)
		for i, kept := range s.keys {
			if kept == id {
				s.keys = append(s.keys[:i:i], s.keys[i+1:]...)
				break
			}
		}
	}
}

// all iterates in the order of insertion.
func (s *orderedMap[T]) all(yield func(string, T) bool) {
	for _, id := range s.keys {
		if !yield(id, s.values[id]) {
			return
		}
	}
}

// regionalMap is an orderedMap of resources that is also indexed by location.
type regionalMap[T located] struct {
	orderedMap[T]
	byLocation map[location]*orderedMap[T]
}

type located interface{ getLocation() location }

func newRegionalMap[T located]() regionalMap[T] {
	return regionalMap[T]{newOrderedMap[T](), map[location]*orderedMap[T]{}}
}

func (s *regionalMap[T]) put(id string, item T) {
	s.orderedMap.put(id, item)
	if s.byLocation[item.getLocation()] == nil {
		fresh := newOrderedMap[T]()
		s.byLocation[item.getLocation()] = &fresh
	}
	s.byLocation[item.getLocation()].put(id, item)
}

func (s *regionalMap[T]) remove(id string) {
	if item, ok := s.get(id); ok {
		s.byLocation[item.getLocation()].remove(id)
	}
	s.orderedMap.remove(id)
}

// ownedBy returns an iterator over all resources, or only over the caller's own if owners is "self".
func (s *regionalMap[T]) ownedBy(owners []string, caller location) func(func(string, T) bool) {
	if len(owners) != 1 || owners[0] != "self" {
		return s.all
	}
	if own := s.byLocation[caller]; own != nil {
		return own.all
	}
	return func(func(string, T) bool) {}
}

// random returns a number that depends on the seed, its purpose and its repetition, but never on the order of other
// calls.
func (w *World) random(what ...string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, strconv.FormatUint(w.seed, 36))
	for _, part := range what {
		io.WriteString(h, "\x00"+part)
	}
	name := h.Sum64()
	w.randomCounts[name]++
	io.WriteString(h, "\x00"+strconv.Itoa(w.randomCounts[name]))
	return mixBits(h.Sum64())
}

// mixBits spreads the bits of a hash over the whole number.
func mixBits(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// newID returns an EC2 ID of 17 digits, such as "snap-0" and 16 hexadecimal digits (rule 2.5.10). It records the ID as
// a change of the call. Calls with different sources get the same IDs in every run, whatever their order.
func (w *World) newID(c *Call, prefix string, source ...string) string {
	who := ""
	if c.caller != nil {
		who = c.caller.principal.ARN
	}
	purpose := append([]string{"id", prefix, who, c.Region, c.Operation}, source...)
	id := fmt.Sprintf("%s0%016x", prefix, w.random(purpose...))
	c.changedIDs = append(c.changedIDs, id)
	return id
}
