// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// volumeLimits are the bounds of a volume type. A zero maximum means that the volume type does not take the parameter.
type volumeLimits struct {
	minSizeGiB, maxSizeGiB       int32
	minIOPS, maxIOPS             int32
	maxIOPSPerGiB                int32
	minThroughput, maxThroughput int32 // in MiB/s
	baseline                     bool  // lower IOPS become the minimum, which is the default
}

// volumeTypeLimits are the bounds by volume type (SDK CreateVolume, parameters Size, Iops and Throughput; EBS user
// guide, volume types, as of September 2025).
var volumeTypeLimits = map[types.VolumeType]volumeLimits{
	types.VolumeTypeStandard: {minSizeGiB: 1, maxSizeGiB: 1024},
	types.VolumeTypeSt1:      {minSizeGiB: 125, maxSizeGiB: 16384},
	types.VolumeTypeSc1:      {minSizeGiB: 125, maxSizeGiB: 16384},
	types.VolumeTypeGp2:      {minSizeGiB: 1, maxSizeGiB: 16384},
	types.VolumeTypeGp3: {
		minSizeGiB:    1,
		maxSizeGiB:    65536,
		minIOPS:       3000,
		maxIOPS:       80000,
		maxIOPSPerGiB: 500,
		minThroughput: 125,
		maxThroughput: 2000,
		baseline:      true,
	},
	types.VolumeTypeIo1: {minSizeGiB: 4, maxSizeGiB: 16384, minIOPS: 100, maxIOPS: 64000, maxIOPSPerGiB: 50},
	types.VolumeTypeIo2: {minSizeGiB: 4, maxSizeGiB: 65536, minIOPS: 100, maxIOPS: 256000, maxIOPSPerGiB: 1000},
}

// volumeRequest holds the parameters of a volume that have bounds. The size is zero if it is not known yet.
type volumeRequest struct {
	volumeType types.VolumeType
	sizeGiB    int32
	iops       *int32
	throughput *int32
	rate       *int32 // volume initialization rate in MiB/s
	snapshot   bool   // the volume is created from a snapshot
}

// volumeRequestOf returns the parameters of a block device mapping.
func volumeRequestOf(ebs types.EbsBlockDevice) volumeRequest {
	return volumeRequest{
		volumeType: ebs.VolumeType,
		sizeGiB:    aws.ToInt32(ebs.VolumeSize),
		iops:       ebs.Iops,
		throughput: ebs.Throughput,
		rate:       ebs.VolumeInitializationRate,
		snapshot:   ebs.SnapshotId != nil,
	}
}

// maxThroughputPerIOPS is the maximum throughput of a gp3 volume in MiB/s for each of its IOPS.
const maxThroughputPerIOPS = 0.25

// validateVolumeRequest checks the parameters of a volume against the bounds of its volume type. EC2 does so before it
// answers a dry run.
func (w *World) validateVolumeRequest(c *Call, asked volumeRequest) error {
	if asked.volumeType == "" {
		asked.volumeType = types.VolumeTypeGp2
	}

	limits := volumeTypeLimits[asked.volumeType]
	if size := asked.sizeGiB; size != 0 {
		if w.violates(c, "B.3.1", size < limits.minSizeGiB) {
			return badRequest(
				"InvalidParameterValue", "Volume of %dGiB is too small for volume type %s; minimum is %dGiB", size,
				asked.volumeType, limits.minSizeGiB,
			)
		}
		if w.violates(c, "B.3.1", size > limits.maxSizeGiB) {
			return badRequest(
				"InvalidParameterValue", "Volume of %dGiB is too large for volume type %s; maximum is %dGiB", size,
				asked.volumeType, limits.maxSizeGiB,
			)
		}
	}

	if err := w.validateVolumeIOPS(c, asked, limits); err != nil {
		return err
	}
	if err := w.validateVolumeThroughput(c, asked, limits); err != nil {
		return err
	}

	return w.validateInitializationRate(c, asked)
}

func (w *World) validateVolumeIOPS(c *Call, asked volumeRequest, limits volumeLimits) error {
	switch required := limits.maxIOPS > 0 && !limits.baseline; {
	case w.violates(c, "B.3.2", asked.iops == nil && required):
		return badRequest(
			"MissingParameter", "The request must contain the parameter iops for %s volumes", asked.volumeType,
		)
	case asked.iops == nil:
		return nil
	case w.violates(c, "B.3.2", limits.maxIOPS == 0):
		return badRequest(
			"InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", asked.volumeType,
		)
	case w.violates(c, "B.3.2", *asked.iops < limits.minIOPS && !limits.baseline):
		return badRequest(
			"InvalidParameterValue", "Volume iops of %d is too low; minimum is %d.", *asked.iops, limits.minIOPS,
		)
	case w.violates(c, "B.3.2", *asked.iops > limits.maxIOPS):
		return badRequest(
			"InvalidParameterValue", "Volume iops of %d is too high; maximum is %d.", *asked.iops, limits.maxIOPS,
		)
	}

	tooMany := asked.sizeGiB > 0 && *asked.iops > max(limits.minIOPS, limits.maxIOPSPerGiB*asked.sizeGiB)
	if w.violates(c, "B.3.3", tooMany) {
		return badRequest(
			"InvalidParameterValue", "Iops to volume size ratio of %f is too high; maximum is %d",
			float64(*asked.iops)/float64(asked.sizeGiB), limits.maxIOPSPerGiB,
		)
	}

	return nil
}

// validateVolumeThroughput checks the throughput of a volume. Only gp3 volumes take one.
func (w *World) validateVolumeThroughput(c *Call, asked volumeRequest, limits volumeLimits) error {
	throughput := asked.throughput
	switch {
	case throughput == nil:
		return nil
	case w.violates(c, "B.3.4", limits.maxThroughput == 0):
		return badRequest(
			"InvalidParameterCombination", "The parameter throughput is not supported for %s volumes.", asked.volumeType,
		)
	case w.violates(c, "B.3.4", *throughput < limits.minThroughput):
		return badRequest(
			"InvalidParameterValue", "Volume throughput of %d is too low; minimum is %d.", *throughput, limits.minThroughput,
		)
	case w.violates(c, "B.3.4", *throughput > limits.maxThroughput):
		return badRequest(
			"InvalidParameterValue", "Volume throughput of %d is too high; maximum is %d.", *throughput,
			limits.maxThroughput,
		)
	}

	ratio := float64(*throughput) / float64(max(limits.minIOPS, aws.ToInt32(asked.iops)))
	if w.violates(c, "B.3.3", ratio > maxThroughputPerIOPS) {
		return badRequest(
			"InvalidParameterValue", "Throughput (MiBps) to iops ratio of %f is too high; maximum is %f.", ratio,
			maxThroughputPerIOPS,
		)
	}

	return nil
}

// Bounds of the volume initialization rate in MiB/s (SDK CreateVolume, parameter VolumeInitializationRate).
const (
	minInitializationRate = 100
	maxInitializationRate = 300
)

// validateInitializationRate checks the volume initialization rate, which is for volumes of snapshots only.
func (w *World) validateInitializationRate(c *Call, asked volumeRequest) error {
	switch {
	case asked.rate == nil:
		return nil
	case w.violates(c, "B.3.5", !asked.snapshot):
		return badRequest(
			"InvalidParameterCombination", "The parameter VolumeInitializationRate requires the parameter snapshotId.",
		)
	case w.violates(c, "B.3.5", *asked.rate < minInitializationRate || *asked.rate > maxInitializationRate):
		return badRequest(
			"InvalidParameterValue", "The value specified for VolumeInitializationRate is not in the allowed range.",
		)
	}
	return nil
}

// setPerformance sets the IOPS and the throughput that a volume gets.
func (v *volume) setPerformance() {
	switch v.volumeType {
	case types.VolumeTypeGp3:
		v.iops = aws.Int32(max(volumeTypeLimits[v.volumeType].minIOPS, aws.ToInt32(v.iops)))
		if v.throughput == nil {
			v.throughput = aws.Int32(volumeTypeLimits[v.volumeType].minThroughput)
		}
	case types.VolumeTypeGp2:
		v.iops = aws.Int32(min(max(100, 3*v.sizeGiB), 16000))
	}
}
