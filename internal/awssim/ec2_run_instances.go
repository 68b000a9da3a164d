// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/iampolicy"
)

// runInstances launches instances. The order of checks is that of rule 6.4: a dry run does not check whether the image
// exists.
func (w *World) runInstances(c *Call, asked *ec2.RunInstancesInput) (*ec2.RunInstancesOutput, error) {
	in, err := w.applyTemplate(c, asked)
	if err != nil {
		return nil, err
	}
	if err := w.validateRunInstances(c, in); err != nil {
		return nil, err
	}

	plan, problem := w.planLaunch(c, in)
	if err := w.authorize(c, w.newLaunchAuthorizations(c, in, plan)...); err != nil {
		return nil, err
	}

	return runIdempotent(w, c, asked.ClientToken, func() (*ec2.RunInstancesOutput, error) {
		if problem != nil {
			return nil, problem
		}
		return w.launch(c, in, plan)
	})
}

// applyTemplate returns the request with missing parameters taken from its launch template.
func (w *World) applyTemplate(c *Call, in *ec2.RunInstancesInput) (*ec2.RunInstancesInput, error) {
	named := in.LaunchTemplate
	if named == nil {
		return in, nil
	}

	t, err := w.findLaunchTemplate(c.location(), named.LaunchTemplateId, named.LaunchTemplateName)
	if err != nil {
		return nil, err
	}

	version, err := t.findVersion(w, c, aws.ToString(named.Version))
	if err != nil {
		return nil, err
	}

	var base ec2.RunInstancesInput
	convertFields(version.data, &base)
	base.RamdiskId = version.data.RamDiskId
	whole := overlay(base, *in)
	whole.LaunchTemplate = &types.LaunchTemplateSpecification{
		LaunchTemplateId: t.metadata.LaunchTemplateId, Version: named.Version,
	}

	return &whole, nil
}

// validateRunInstances checks what RunInstances refuses before it authorizes the call.
func (w *World) validateRunInstances(c *Call, in *ec2.RunInstancesInput) error {
	if err := refuseUnmodeledLaunch(in); err != nil {
		return err
	}

	least, most := aws.ToInt32(in.MinCount), aws.ToInt32(in.MaxCount)
	switch {
	case in.MaxCount == nil:
		return missingParameter("MaxCount")
	case in.MinCount == nil:
		return missingParameter("MinCount")
	case least < 1 || most < least:
		return badRequest(
			"InvalidParameterValue", "Value (%d) for parameter minCount is invalid. Expected a number between 1 and maxCount.",
			least,
		)
	case w.violates(c, "A.4.12", aws.ToString(in.ImageId) == ""):
		return missingParameter("ImageId")
	}

	if _, known := findInstanceFamily(instanceTypeOf(in)); !known {
		return badRequest("InvalidParameterValue", "Invalid value '%s' for InstanceType.", in.InstanceType)
	}

	for _, m := range in.BlockDeviceMappings {
		if aws.ToString(m.DeviceName) == "" {
			return missingParameter("DeviceName")
		}
		if m.Ebs == nil {
			continue
		}
		if err := w.validateVolumeRequest(c, launchVolumeRequest(*m.Ebs)); err != nil {
			return err
		}
	}

	return w.validateTagSpecifications(
		c, in.TagSpecifications, types.ResourceTypeInstance, types.ResourceTypeVolume, types.ResourceTypeNetworkInterface,
	)
}

// launchVolumeRequest returns the parameters of a mapping that have bounds. The mapping of the image may have the
// snapshot, the size and the volume type that the request leaves out.
func launchVolumeRequest(ebs types.EbsBlockDevice) volumeRequest {
	asked := volumeRequestOf(ebs)
	asked.snapshot = asked.snapshot || asked.sizeGiB == 0
	return asked
}

// refuseUnmodeledLaunch refuses parameters that the simulator would ignore. Capacity reservation preferences and CPU
// credits are accepted, because they have no visible effect here.
func refuseUnmodeledLaunch(in *ec2.RunInstancesInput) error {
	err := refuseUnmodeled(in, "MaxCount", "MinCount", "BlockDeviceMappings", "CapacityReservationSpecification",
		"ClientToken", "CreditSpecification",
		"DisableApiTermination", "EbsOptimized", "IamInstanceProfile", "ImageId", "InstanceInitiatedShutdownBehavior",
		"InstanceType", "KernelId", "KeyName",
		"LaunchTemplate", "MetadataOptions", "NetworkInterfaces", "Placement", "RamdiskId", "SecurityGroupIds", "SubnetId",
		"TagSpecifications", "UserData")
	if reservation := in.CapacityReservationSpecification; err == nil && reservation != nil {
		err = refuseUnmodeled(reservation, "CapacityReservationPreference")
	}
	if in.Placement != nil && err == nil {
		err = refuseUnmodeled(in.Placement, "AvailabilityZone", "HostId", "Tenancy")
	}

	for _, card := range in.NetworkInterfaces {
		if err == nil {
			err = refuseUnmodeled(&card, "AssociatePublicIpAddress", "DeleteOnTermination", "DeviceIndex", "Groups", "SubnetId")
		}
	}

	return err
}

// instanceTypeOf returns the requested instance type, or EC2's default.
func instanceTypeOf(in *ec2.RunInstancesInput) types.InstanceType {
	return cmp.Or(in.InstanceType, types.InstanceTypeM1Small)
}

// launchPlan holds what a launch needs.
type launchPlan struct {
	image   *image
	ami     types.Image // the image as the caller sees it
	devices []types.BlockDeviceMapping
	subnet  subnet
	groups  []string
	profile *instanceProfile
}

// planLaunch looks up what a launch needs. On an error the plan holds what was found so far, for the authorization.
func (w *World) planLaunch(c *Call, in *ec2.RunInstancesInput) (plan launchPlan, err error) {
	id, err := w.resolveImageID(c, aws.ToString(in.ImageId))
	if err != nil {
		return plan, err
	}
	if plan.image, err = w.findImageToLaunch(c, id); err != nil {
		return plan, err
	}

	plan.ami = w.viewImage(c, plan.image)
	if plan.devices, err = mergeDevices(plan.ami.BlockDeviceMappings, in.BlockDeviceMappings); err != nil {
		return plan, err
	}
	if err := w.validateInstanceType(c, instanceTypeOf(in), plan.ami); err != nil {
		return plan, err
	}
	if plan.subnet, plan.groups, err = w.chooseNetwork(c, in); err != nil {
		return plan, err
	}
	if err := w.validateHost(c, in, plan.subnet.zone); err != nil {
		return plan, err
	}
	if plan.profile, err = w.findLaunchProfile(c, in.IamInstanceProfile); err != nil {
		return plan, err
	}

	if name := aws.ToString(in.KeyName); name != "" {
		if _, ok := w.findKeyPair(c.location(), name); !ok {
			return plan, badRequest("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", name)
		}
	}

	return plan, nil
}

// findImageToLaunch returns an image that the caller can launch now.
func (w *World) findImageToLaunch(c *Call, id string) (*image, error) {
	found, err := w.findLaunchableImage(c, c.Region, id)
	if err != nil {
		return nil, err
	}

	switch state, _ := found.stateAt(c.At); {
	case w.violates(c, "9.2", state == types.ImageStateDisabled):
		return nil, imageUnavailable(id)
	case state != types.ImageStateAvailable && state != types.ImageStateDisabled:
		return nil, badRequest(
			"InvalidAMIID.Unavailable", "The image ID '%s' is in state %s and cannot be launched", id, state,
		)
	}

	return found, nil
}

// chooseNetwork returns the subnet and security groups of a launch: those in the request or the defaults. An account
// without a default VPC has no defaults.
func (w *World) chooseNetwork(c *Call, in *ec2.RunInstancesInput) (subnet, []string, error) {
	n := w.network(c.location())
	id, groups := aws.ToString(in.SubnetId), in.SecurityGroupIds
	for _, card := range in.NetworkInterfaces {
		id, groups = cmp.Or(aws.ToString(card.SubnetId), id), append(slices.Clone(groups), card.Groups...)
	}

	if w.violates(c, "B.12.1", n.vpc == "" && id == "") {
		return subnet{}, nil, badRequest(
			"VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.",
		)
	}

	for _, group := range groups {
		if _, ok := n.groups.get(group); !ok {
			return subnet{}, nil, securityGroupNotFound(group)
		}
	}

	if len(groups) == 0 && len(n.groups.keys) > 0 {
		groups = n.groups.keys[:1] // the default security group
	}

	if id != "" {
		found, ok := n.findSubnet(id)
		if !ok {
			return subnet{}, nil, badRequest("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
		}
		return found, groups, nil
	}

	zone := ""
	if in.Placement != nil {
		zone = aws.ToString(in.Placement.AvailabilityZone)
	}

	found, ok := n.defaultSubnet(zone)
	if !ok {
		return subnet{}, nil, badRequest("InvalidParameterValue", "Invalid availability zone: [%s]", zone)
	}

	return found, groups, nil
}

// findLaunchProfile returns the instance profile of a launch by name or ARN. Nil if the request has none.
func (w *World) findLaunchProfile(c *Call, named *types.IamInstanceProfileSpecification) (*instanceProfile, error) {
	if named == nil || aws.ToString(named.Name)+aws.ToString(named.Arn) == "" {
		return nil, nil
	}

	for _, profile := range c.caller.account.profiles.all {
		sameName := strings.EqualFold(*profile.InstanceProfileName, aws.ToString(named.Name))
		if sameName || aws.ToString(profile.Arn) == aws.ToString(named.Arn) {
			return profile, nil
		}
	}

	if name := aws.ToString(named.Name); name != "" {
		return nil, badRequest(
			"InvalidParameterValue",
			"Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", name,
		)
	}

	return nil, badRequest(
		"InvalidParameterValue",
		"Value (%s) for parameter iamInstanceProfile.arn is invalid. Invalid IAM Instance Profile ARN", *named.Arn,
	)
}

// mergeDevices merges the block device mappings of a request into those of an image.
func mergeDevices(ofImage, ofRequest []types.BlockDeviceMapping) ([]types.BlockDeviceMapping, error) {
	devices := withoutEncryptionFlags(ofImage)
	for _, asked := range ofRequest {
		i := slices.IndexFunc(devices, func(m types.BlockDeviceMapping) bool { return *m.DeviceName == *asked.DeviceName })
		switch {
		case asked.NoDevice != nil && i >= 0:
			devices = slices.Delete(devices, i, i+1)
		case asked.NoDevice != nil:
		case i < 0:
			devices = append(devices, asked)
		case devices[i].Ebs != nil && asked.Ebs != nil:
			if named := asked.Ebs.SnapshotId; named != nil && aws.ToString(devices[i].Ebs.SnapshotId) != *named {
				return nil, badRequest("InvalidBlockDeviceMapping", "snapshotId cannot be modified on device %s", *asked.DeviceName)
			}
			laid := overlay(*devices[i].Ebs, *asked.Ebs)
			devices[i].Ebs = &laid
		default:
			devices[i] = asked
		}
	}

	return devices, nil
}

// withoutEncryptionFlags returns the devices of an image without the Encrypted flag of their snapshots, which is not a
// request for encryption (rule 1.1.8). A device without a snapshot keeps the flag, because it requests an empty
// encrypted volume (rule 1.5.5).
func withoutEncryptionFlags(ofImage []types.BlockDeviceMapping) []types.BlockDeviceMapping {
	devices := slices.Clone(ofImage)
	for i, device := range devices {
		if device.Ebs != nil && device.Ebs.SnapshotId != nil {
			ebs := *device.Ebs
			ebs.Encrypted, ebs.KmsKeyId = nil, nil
			devices[i].Ebs = &ebs
		}
	}
	return devices
}

// validateInstanceType refuses an instance type that cannot run an image.
func (w *World) validateInstanceType(c *Call, asked types.InstanceType, ami types.Image) error {
	f, _ := findInstanceFamily(asked)
	switch {
	case w.violates(c, "2.4.4", f.nitro && !aws.ToBool(ami.EnaSupport)):
		return badRequest("InvalidParameterCombination",
			"Enhanced networking with the Elastic Network Adapter (ENA) is required for the '%s' instance type. "+
				"Ensure that you are using an AMI that is enabled for ENA.", asked)
	case w.violates(c, "2.4", !f.paravirtual && ami.VirtualizationType == types.VirtualizationTypeParavirtual):
		return badRequest(
			"InvalidParameterCombination",
			"Non-Windows instances with a virtualization type of 'paravirtual' are currently not supported for this instance "+
				"type : %s",
			asked,
		)
	case w.violates(c, "2.4", instanceArchitecture(ami.Architecture) != f.architecture):
		return badRequest("InvalidParameterValue",
			"The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. "+
				"Specify an instance type and an AMI that have matching architectures, and try again.", f.architecture,
			ami.Architecture)
	}

	return nil
}

// instanceArchitecture returns the architecture of the instances that run images of an architecture.
func instanceArchitecture(a types.ArchitectureValues) types.ArchitectureValues {
	if a == types.ArchitectureValuesI386 {
		return types.ArchitectureValuesX8664
	}
	return a
}

func (w *World) newLaunchAuthorizations(c *Call, in *ec2.RunInstancesInput, plan launchPlan) []AuthorizationRequest {
	loc := c.location()
	machine := iampolicy.Context{"ec2:InstanceType": {string(instanceTypeOf(in))}}
	requests := []AuthorizationRequest{
		w.newImageAuthorization(c, c.Region, aws.ToString(plan.ami.ImageId)),
		newAuthorization(c, loc, "instance/*").withContext(machine), newAuthorization(c, loc, "network-interface/*"),
	}

	for _, m := range plan.devices {
		if m.Ebs != nil {
			requests = append(requests, newAuthorization(c, loc, "volume/*").withContext(volumeContext(m.Ebs)))
		}
	}

	if plan.subnet.id != "" {
		requests = append(requests, newAuthorization(c, loc, "subnet/"+plan.subnet.id))
	}

	for _, group := range plan.groups {
		requests = append(requests, newAuthorization(c, loc, "security-group/"+group))
	}

	if name := aws.ToString(in.KeyName); name != "" {
		requests = append(requests, newAuthorization(c, loc, "key-pair/"+name))
	}
	if in.LaunchTemplate != nil {
		requests = append(requests, newAuthorization(c, loc, "launch-template/"+*in.LaunchTemplate.LaunchTemplateId))
	}

	for _, m := range in.BlockDeviceMappings {
		if m.Ebs != nil && m.Ebs.SnapshotId != nil {
			requests = append(requests, w.newSnapshotAuthorization(c, *m.Ebs.SnapshotId))
		}
	}

	if plan.profile != nil && plan.profile.role != nil {
		requests = append(requests, AuthorizationRequest{
			Action: "iam:PassRole", Resource: plan.profile.role.arn,
			Context: iampolicy.Context{"iam:PassedToService": {"ec2." + domainOf(c.Region)}},
		})
	}

	return addTagOnCreate(c, in.TagSpecifications, requests...)
}

func volumeContext(ebs *types.EbsBlockDevice) iampolicy.Context {
	context := iampolicy.Context{
		"ec2:Encrypted":  {fmt.Sprint(aws.ToBool(ebs.Encrypted))},
		"ec2:VolumeType": {string(cmp.Or(ebs.VolumeType, types.VolumeTypeGp2))},
	}
	if ebs.VolumeSize != nil {
		context["ec2:VolumeSize"] = []string{fmt.Sprint(*ebs.VolumeSize)}
	}
	return context
}

// launch creates the instances of one reservation.
func (w *World) launch(c *Call, in *ec2.RunInstancesInput, plan launchPlan) (*ec2.RunInstancesOutput, error) {
	out := &ec2.RunInstancesOutput{ReservationId: aws.String(w.newID(c, "r-")), OwnerId: aws.String(c.location().account)}
	for index := range *in.MaxCount {
		created, err := w.newInstance(c, in, plan)
		if err != nil {
			return nil, err
		}
		created.reservationID, created.attributes.AmiLaunchIndex = *out.ReservationId, aws.Int32(index)
		out.Instances = append(out.Instances, w.showInstance(created, c.At))
	}
	plan.image.lastLaunched = c.At
	return out, nil
}

func (w *World) newInstance(c *Call, in *ec2.RunInstancesInput, plan launchPlan) (*instance, error) {
	volumes, err := w.launchVolumes(c, in, plan)
	if err != nil {
		return nil, err
	}

	created := &instance{
		location:             c.location(),
		id:                   w.newID(c, "i-"),
		terminationProtected: aws.ToBool(in.DisableApiTermination),
		userData:             aws.ToString(in.UserData),
	}

	created.shutdownBehavior = cmp.Or(in.InstanceInitiatedShutdownBehavior, types.ShutdownBehaviorStop)
	w.describeLaunch(c, created, in, plan)
	then := c.At.Add(w.randomTransitionTime(created, "launch"))
	fails := slices.ContainsFunc(volumes, func(v launchVolume) bool { return v.failsToCreate })
	created.setTransitions(
		c.At, stateTransition{time: c.At, state: types.InstanceStateNamePending},
		stateTransition{time: then, state: types.InstanceStateNameRunning},
	)

	// EC2 accepts a launch with a key that cannot be used, and the instance terminates (rules 8.6 and A.4.9).
	if w.violates(c, "8.6", fails) {
		created.setTransitions(c.At, stateTransition{
			then, types.InstanceStateNameTerminated, &wrongKeyState, *clientError.Code,
		})
	}

	for _, v := range volumes {
		if fails {
			v.deletedAt = then
		}
		created.devices = append(created.devices, device{v.device, v.id, then, v.deleteOnTermination})
	}

	w.instances.put(created.id, created)
	w.tagNewResource(c, created.id, types.ResourceTypeInstance, in.TagSpecifications)
	return created, nil
}

// launchVolume is a volume of a launch.
type launchVolume struct {
	*volume
	device              string
	deleteOnTermination bool
}

// launchVolumes creates the volumes of an instance. The snapshots of the image need not be shared with the caller (rule
// 2.2.7), but the snapshots in the request must be.
func (w *World) launchVolumes(c *Call, in *ec2.RunInstancesInput, plan launchPlan) (created []launchVolume, err error) {
	for _, m := range plan.devices {
		if m.Ebs == nil {
			continue // ephemeral
		}

		spec := volumeSpec{
			zone:       plan.subnet.zone,
			sizeGiB:    m.Ebs.VolumeSize,
			volumeType: m.Ebs.VolumeType,
			iops:       m.Ebs.Iops,
			throughput: m.Ebs.Throughput,
			encryption: encryptionParams{m.Ebs.Encrypted, m.Ebs.KmsKeyId},
			tags:       in.TagSpecifications,
		}

		if id := aws.ToString(m.Ebs.SnapshotId); id != "" {
			from, ok := w.snapshots.get(id)
			ofImage := slices.ContainsFunc(plan.ami.BlockDeviceMappings, func(b types.BlockDeviceMapping) bool {
				return b.Ebs != nil && aws.ToString(b.Ebs.SnapshotId) == id
			})
			if !ok || !ofImage && !w.isReadableBy(c.location().account, from) {
				return nil, badRequest("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
			}
			if size := m.Ebs.VolumeSize; w.violates(c, "B.3.6", size != nil && *size < from.sizeGiB) {
				return nil, badRequest(
					"InvalidBlockDeviceMapping", "Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", *size, id,
					from.sizeGiB,
				)
			}
			spec.snapshot = from
		} else if m.Ebs.VolumeSize == nil {
			return nil, badRequest("MissingParameter", "The request must contain the parameter size or snapshotId")
		}

		v, err := w.newVolume(c, spec)
		if err != nil {
			return nil, err
		}

		created = append(created, launchVolume{
			v, *m.DeviceName, m.Ebs.DeleteOnTermination == nil || *m.Ebs.DeleteOnTermination,
		})
	}

	return created, nil
}

// describeLaunch sets the attributes of an instance that do not depend on its state.
func (w *World) describeLaunch(c *Call, created *instance, in *ec2.RunInstancesInput, plan launchPlan) {
	ami, network := plan.ami, w.network(c.location())
	address := fmt.Sprintf("172.31.%d.%d", w.random("address", created.id)%48, 4+w.random("address", created.id)%250)
	created.attributes = types.Instance{
		InstanceId:               &created.id,
		ImageId:                  ami.ImageId,
		InstanceType:             instanceTypeOf(in),
		KeyName:                  in.KeyName,
		ClientToken:              in.ClientToken,
		LaunchTime:               aws.Time(c.At),
		Architecture:             ami.Architecture,
		VirtualizationType:       ami.VirtualizationType,
		Hypervisor:               ami.Hypervisor,
		EnaSupport:               ami.EnaSupport,
		SriovNetSupport:          ami.SriovNetSupport,
		BootMode:                 ami.BootMode,
		KernelId:                 cmp.Or(in.KernelId, ami.KernelId),
		RamdiskId:                cmp.Or(in.RamdiskId, ami.RamdiskId),
		RootDeviceName:           ami.RootDeviceName,
		RootDeviceType:           ami.RootDeviceType,
		Platform:                 ami.Platform,
		PlatformDetails:          ami.PlatformDetails,
		UsageOperation:           ami.UsageOperation,
		UsageOperationUpdateTime: aws.Time(c.At),
		ProductCodes:             ami.ProductCodes,
		EbsOptimized:             aws.Bool(aws.ToBool(in.EbsOptimized)),
		SourceDestCheck:          aws.Bool(true),
		Placement:                newPlacement(in.Placement, plan.subnet.zone),
		Monitoring:               &types.Monitoring{State: types.MonitoringStateDisabled},
		SubnetId:                 &plan.subnet.id,
		VpcId:                    &network.vpc,
		PrivateIpAddress:         &address,
		PrivateDnsName: aws.String("ip-" + strings.ReplaceAll(address, ".", "-") + "." + c.Region +
			".compute.internal"),
		PublicDnsName:   aws.String(""),
		MetadataOptions: metadataOptions(in.MetadataOptions, ami),
	}

	if ami.TpmSupport != "" {
		created.attributes.TpmSupport = aws.String(string(ami.TpmSupport))
	}

	for _, id := range plan.groups {
		group, _ := network.groups.get(id)
		created.attributes.SecurityGroups = append(created.attributes.SecurityGroups, types.GroupIdentifier{
			GroupId: group.GroupId, GroupName: group.GroupName,
		})
	}

	created.attributes.NetworkInterfaces = []types.InstanceNetworkInterface{{
		NetworkInterfaceId: aws.String(w.newID(c, "eni-")),
		SubnetId:           &plan.subnet.id,
		VpcId:              &network.vpc,
		OwnerId:            &created.location.account,
		PrivateIpAddress:   &address,
		Groups:             created.attributes.SecurityGroups,
		Status:             types.NetworkInterfaceStatusInUse,
	}}

	w.tagNewResource(
		c, *created.attributes.NetworkInterfaces[0].NetworkInterfaceId, types.ResourceTypeNetworkInterface,
		in.TagSpecifications,
	)

	if plan.profile != nil {
		created.attributes.IamInstanceProfile = &types.IamInstanceProfile{
			Arn: plan.profile.Arn, Id: plan.profile.InstanceProfileId,
		}
	}
}

func newPlacement(asked *types.Placement, zone string) *types.Placement {
	created := &types.Placement{
		AvailabilityZone: &zone, AvailabilityZoneId: aws.String(zoneID(zone)), Tenancy: types.TenancyDefault,
	}
	if asked != nil {
		created.Tenancy = cmp.Or(asked.Tenancy, created.Tenancy)
		created.HostId = asked.HostId
	}
	return created
}

// metadataOptions returns the requested options. For an image with IMDS support v2.0, tokens are required unless the
// request says otherwise.
func metadataOptions(
	asked *types.InstanceMetadataOptionsRequest, ami types.Image,
) *types.InstanceMetadataOptionsResponse {
	created := types.InstanceMetadataOptionsResponse{}
	if asked != nil {
		convertFields(*asked, &created)
	}

	tokens, hops := types.HttpTokensStateOptional, int32(1)
	if ami.ImdsSupport == types.ImdsSupportValuesV20 {
		tokens, hops = types.HttpTokensStateRequired, 2
	}

	created.State = types.InstanceMetadataOptionsStateApplied
	created.HttpTokens = cmp.Or(created.HttpTokens, tokens)
	created.HttpEndpoint = cmp.Or(created.HttpEndpoint, types.InstanceMetadataEndpointStateEnabled)
	created.HttpPutResponseHopLimit = cmp.Or(created.HttpPutResponseHopLimit, &hops)
	return &created
}

// canUseVolumeKeys reports whether the caller can use the keys of an instance's volumes.
func (w *World) canUseVolumeKeys(c *Call, i *instance) bool {
	for _, d := range i.devices {
		v, ok := w.volumes.get(d.volume)
		if !ok {
			continue
		}
		key := w.findStorageKey(i.location, v.keyARN)
		if v.keyARN != "" && (key == nil || w.isVolumeKeyDenied(c, key, key)) {
			return false
		}
	}
	return true
}

// releaseVolumes schedules the deletion of an instance's volumes that have DeleteOnTermination.
func (w *World) releaseVolumes(i *instance, then time.Time) {
	for _, d := range i.devices {
		if v, ok := w.volumes.get(d.volume); ok && d.deleteOnTermination {
			v.deletedAt = then
		}
	}
}
