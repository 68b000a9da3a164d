// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// dedicatedHost is a host that an account allocated. It runs instances of one type.
type dedicatedHost struct {
	location     location
	id           string
	zone         string
	instanceType types.InstanceType
}

// AllocateHost allocates a dedicated host in the first Availability Zone of a Region, and returns its ID.
func (w *World) AllocateHost(account, region string, instanceType types.InstanceType) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	loc := location{account, region}
	id := w.newLocationID(loc, "h-")
	w.hosts = append(w.hosts, dedicatedHost{loc, id, zonesOf(region)[0], instanceType})
	return id
}

// validateHost refuses a launch that needs a dedicated host and has none. Mac instances run on dedicated hosts only
// (EC2-UG, Amazon EC2 Mac instances).
func (w *World) validateHost(c *Call, in *ec2.RunInstancesInput, zone string) error {
	family, _ := findInstanceFamily(instanceTypeOf(in))
	onHost := in.Placement != nil && (in.Placement.Tenancy == types.TenancyHost || in.Placement.HostId != nil)
	switch {
	case w.violates(c, "B.12.2", family.needsHost() && !onHost):
		return badRequest(
			"Unsupported", "The requested configuration is currently not supported. Please check the documentation for "+
				"supported configurations.",
		)
	case !onHost:
		return nil
	}

	id := aws.ToString(in.Placement.HostId)
	free := slices.ContainsFunc(w.hosts, func(h dedicatedHost) bool {
		return h.location == c.location() && h.zone == zone && h.instanceType == instanceTypeOf(in) &&
			(id == "" || id == h.id)
	})
	if w.violates(c, "B.12.3", !free) {
		return badRequest(
			"InsufficientHostCapacity", "There is no available dedicated host for the instance type %s in %s.",
			instanceTypeOf(in), zone,
		)
	}
	return nil
}
