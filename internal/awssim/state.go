// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
)

// state is all that the world holds. Every file of operations has its own part.
type state struct {
	storageState  // snapshots, volumes, images, settings of EBS
	computeState  // instances and what they need
	keyState      // KMS
	identityState // accounts, users, roles, sessions, organizations
	parameterState
	licenseState
	drawn map[uint64]int // how often a thing of a name was drawn, by the name's hash
}

func newState() state {
	return state{
		storageState:   newStorageState(),
		computeState:   newComputeState(),
		keyState:       newKeyState(),
		identityState:  newIdentityState(),
		parameterState: newParameterState(),
		licenseState:   newLicenseState(),
		drawn:          map[uint64]int{},
	}
}

// place is an account's part of a Region.
type place struct{ account, region string }

// shelf keeps things by id, in the order in which they were made.
type shelf[T any] struct {
	ids    []string
	things map[string]T
}

func newShelf[T any]() shelf[T] { return shelf[T]{things: map[string]T{}} }

func (s *shelf[T]) put(id string, thing T) {
	if _, there := s.things[id]; !there {
		s.ids = append(s.ids, id)
	}
	s.things[id] = thing
}

func (s *shelf[T]) get(id string) (T, bool) { thing, there := s.things[id]; return thing, there }

func (s *shelf[T]) remove(id string) {
	if _, there := s.things[id]; there {
		delete(s.things, id)
		for i, kept := range s.ids {
			if kept == id {
				s.ids = append(s.ids[:i:i], s.ids[i+1:]...)
				break
			}
		}
	}
}

// all goes through the things in the order in which they were made.
func (s *shelf[T]) all(yield func(string, T) bool) {
	for _, id := range s.ids {
		if !yield(id, s.things[id]) {
			return
		}
	}
}

// stock is a shelf of things that belong to places.
type stock[T resident] struct {
	shelf[T]
	own map[place]*shelf[T] // the same things by place
}

type resident interface{ of() place }

func newStock[T resident]() stock[T] { return stock[T]{newShelf[T](), map[place]*shelf[T]{}} }

func (s *stock[T]) put(id string, thing T) {
	s.shelf.put(id, thing)
	if s.own[thing.of()] == nil {
		fresh := newShelf[T]()
		s.own[thing.of()] = &fresh
	}
	s.own[thing.of()].put(id, thing)
}

func (s *stock[T]) remove(id string) {
	if thing, there := s.get(id); there {
		s.own[thing.of()].remove(id)
	}
	s.shelf.remove(id)
}

// by are the things that a list with these owners may hold: where it asks for the caller's own, no others are gone through.
func (s *stock[T]) by(owners []string, caller place) func(func(string, T) bool) {
	if len(owners) != 1 || owners[0] != "self" {
		return s.all
	}
	if own := s.own[caller]; own != nil {
		return own.all
	}
	return func(func(string, T) bool) {}
}

// draw is a number that depends on the seed and on what it is drawn for, never on the order of arrival of other calls.
func (w *World) draw(what ...string) uint64 {
	h := fnv.New64a()
	io.WriteString(h, strconv.FormatUint(w.seed, 36))
	for _, part := range what {
		io.WriteString(h, "\x00"+part)
	}
	name := h.Sum64()
	w.drawn[name]++
	io.WriteString(h, "\x00"+strconv.Itoa(w.drawn[name]))
	return mix(h.Sum64())
}

// mix spreads the bits of a hash over all its places.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// newID makes an id of EC2's long form, "snap-0" and 16 hexadecimal digits (2.5.10), for what the call makes.
func (w *World) newID(c *Call, prefix string) string {
	who := ""
	if c.caller != nil {
		who = c.caller.principal.ARN
	}
	id := fmt.Sprintf("%s0%016x", prefix, w.draw("id", prefix, who, c.Region, c.Operation))
	c.made = append(c.made, id)
	return id
}
