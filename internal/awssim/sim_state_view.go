// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Resource is a copy of an EC2 resource with its real state, not the state that an account sees.
type Resource struct {
	ID          string
	Kind        types.ResourceType
	Account     string
	Region      string
	CreatedAt   time.Time // zero for kinds that no assertion needs
	Name        string    // of an image
	Description string
	State       string            // as a describe call shows it
	Source      string            // source of a copy or volume; empty if none
	KeyARN      string            // empty if unencrypted, and for images
	SizeGiB     int32             // of a snapshot or a volume
	Snapshots   []string          // that an image uses
	Volumes     []string          // of an instance
	ClientToken string            // of an instance
	Tags        map[string]string // never nil
	Accounts    []string          // with create volume or launch permission, sorted
	Public      bool
	Protected   bool // against deregistration
}

// Grant is a grant on a KMS key.
type Grant struct {
	ID             string
	KeyARN         string
	Name           string
	Grantee        string
	Retiring       string
	IssuingAccount string
	CreatedAt      time.Time
	Operations     []string
}

// View is a read-only view of the state of a world before or after a call.
type View struct {
	world     *World
	at        time.Time
	resources map[string]*Resource // state before the call; nil if it did not exist
	grants    map[string]*Grant    // state before the call; nil if it did not exist
}

// Resource returns a resource by its id.
func (v View) Resource(id string) (Resource, bool) {
	if kept, known := v.resources[id]; known {
		if kept == nil {
			return Resource{}, false
		}
		return *kept, true
	}
	return v.world.resource(id, v.at)
}

// Resources iterates over all resources in the order of their IDs.
func (v View) Resources(yield func(Resource) bool) {
	for _, id := range slices.Sorted(maps.Keys(v.ids())) {
		if found, ok := v.Resource(id); ok && !yield(found) {
			return
		}
	}
}

// ids returns the IDs that exist or existed before the call.
func (v View) ids() map[string]bool {
	ids := map[string]bool{}
	for id := range v.world.resources {
		ids[id] = true
	}
	for id := range v.resources {
		ids[id] = true
	}
	return ids
}

// Grant returns a grant by its id.
func (v View) Grant(id string) (Grant, bool) {
	if kept, known := v.grants[id]; known {
		if kept == nil {
			return Grant{}, false
		}
		return *kept, true
	}

	for _, key := range v.world.keys.all {
		if found, ok := key.grants.get(id); ok {
			return grantView(key, found), true
		}
	}

	return Grant{}, false
}

// Grants iterates over all grants, by key and in the order of creation.
func (v View) Grants(yield func(Grant) bool) {
	for _, key := range v.world.keys.all {
		for id := range key.grants.all {
			if found, ok := v.Grant(id); ok && !yield(found) {
				return
			}
		}
	}

	for _, id := range slices.Sorted(maps.Keys(v.grants)) {
		kept := v.grants[id]
		if kept == nil {
			continue
		}

		if key, ok := v.world.keys.get(kept.KeyARN); ok {
			if _, still := key.grants.get(id); still {
				continue
			}
		}

		if !yield(*kept) {
			return
		}
	}
}

func grantView(k *key, g *grant) Grant {
	return Grant{
		ID:             g.ID,
		KeyARN:         aws.ToString(k.Arn),
		Name:           g.name,
		Grantee:        g.Grantee,
		Retiring:       g.Retiring,
		IssuingAccount: g.IssuingAccount,
		CreatedAt:      g.created,
		Operations:     slices.Clone(g.Operations),
	}
}

// resource returns a copy of a resource.
func (w *World) resource(id string, now time.Time) (Resource, bool) {
	known, ok := w.resources[id]
	if !ok {
		return Resource{}, false
	}

	seen := Resource{
		ID:      id,
		Kind:    known.resourceType,
		Account: known.location.account,
		Region:  known.location.region,
		Tags:    maps.Clone(known.tags),
	}
	if seen.Tags == nil {
		seen.Tags = map[string]string{}
	}

	if s, is := w.snapshots.get(id); is {
		seen.addSnapshot(s, now)
		seen.Public = w.isPublicSnapshot(s)
	}

	if i, is := w.images.get(id); is {
		seen.addImage(i, now)
		seen.Public = w.isPublicImage(i)
	}

	if v, is := w.volumes.get(id); is {
		if !v.exists(now) {
			return Resource{}, false
		}
		seen.CreatedAt, seen.Source, seen.KeyARN, seen.SizeGiB = v.created, v.snapshot, v.keyARN, v.sizeGiB
		seen.State = string(w.volumeState(v, now))
	}

	if i, is := w.instances.get(id); is {
		if i.isExpired(now) {
			return Resource{}, false
		}
		seen.addInstance(i, now)
	}

	return seen, true
}

func (w *World) volumeState(v *volume, now time.Time) types.VolumeState {
	if now.Before(v.availableAt) {
		return types.VolumeStateCreating
	}
	if _, attached := w.findAttachment(&Call{At: now}, v); attached {
		return types.VolumeStateInUse
	}
	return types.VolumeStateAvailable
}

func (r *Resource) addSnapshot(s *snapshot, now time.Time) {
	r.CreatedAt, r.Description, r.State = s.created, s.description, string(s.state(now))
	r.Source, r.KeyARN, r.SizeGiB = s.source, s.keyARN, s.sizeGiB
	r.Accounts = slices.Clone(s.sharing.accounts)
}

func (r *Resource) addImage(i *image, now time.Time) {
	state, _ := i.stateAt(now)
	r.CreatedAt, r.Name, r.State = i.created, aws.ToString(i.attributes.Name), string(state)
	r.Description, r.Source = aws.ToString(i.attributes.Description), aws.ToString(i.attributes.SourceImageId)
	r.Protected = i.protection.status(now) != protectionDisabled
	for _, device := range i.attributes.BlockDeviceMappings {
		if device.Ebs != nil && device.Ebs.SnapshotId != nil {
			r.Snapshots = append(r.Snapshots, *device.Ebs.SnapshotId)
		}
	}

	for _, permission := range i.launchPermissions {
		if permission.UserId != nil {
			r.Accounts = append(r.Accounts, *permission.UserId)
		}
	}

	slices.Sort(r.Accounts)
}

func (r *Resource) addInstance(i *instance, now time.Time) {
	r.CreatedAt, r.State = aws.ToTime(i.attributes.LaunchTime), string(i.transitionAt(now).state)
	r.Source, r.ClientToken = aws.ToString(i.attributes.ImageId), aws.ToString(i.attributes.ClientToken)
	for _, device := range i.devices {
		r.Volumes = append(r.Volumes, device.volume)
	}
}
