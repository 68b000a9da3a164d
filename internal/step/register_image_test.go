// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"reflect"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// members returns the names of the exported fields of an SDK struct.
func members[T any]() []string {
	var names []string
	for field := range fields(reflect.TypeFor[T]()) {
		names = append(names, field.Name)
	}
	return names
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

// registerMembers is what becomes of every member of RegisterImageInput: it is given, or why it is not.
var registerMembers = map[string]string{
	"Name":                "given",
	"Architecture":        "given",
	"BlockDeviceMappings": "given",
	"BootMode":            "given",
	"Description":         "given",
	"EnaSupport":          "given",
	"ImdsSupport":         "given",
	"KernelId":            "given",
	"RamdiskId":           "given",
	"RootDeviceName":      "given",
	"SriovNetSupport":     "given",
	"TagSpecifications":   "given",
	"TpmSupport":          "given",
	"UefiData":            "given",
	"VirtualizationType":  "given",
	"BillingProducts":     "needs an authorization from AWS (2.3.3)",
	"DryRun":              "for proofs only",
	"ImageLocation":       "of instance-store images",
}

func TestImageAttributes_everySDKMember(t *testing.T) {
	var attributes, devices, given []string
	for _, a := range CarryTable {
		attributes = append(attributes, a.Name)
	}
	for _, d := range DeviceTable {
		devices = append(devices, d.Name)
	}
	for name := range registerMembers {
		given = append(given, name)
	}
	for what, pair := range map[string][2][]string{
		"Image against plan.CarryTable":              {members[ec2types.Image](), attributes},
		"EbsBlockDevice against plan.DeviceTable":    {members[ec2types.EbsBlockDevice](), devices},
		"RegisterImageInput against registerMembers": {members[ec2.RegisterImageInput](), given},
		"BlockDeviceMapping against what devicesOf " +
			"has": {members[ec2types.BlockDeviceMapping](), {"DeviceName", "Ebs", "NoDevice", "VirtualName"}},
	} {
		sdk, ours := pair[0], pair[1]
		slices.Sort(sdk)
		slices.Sort(ours)
		if !slices.Equal(sdk, ours) {
			t.Errorf("%s:\n the SDK has %v\n  we have %v", what, sdk, ours)
		}
	}
}

// fullStep registers an image whose every attribute has a value.
func fullStep() *RegisterImage {
	image := ec2types.Image{}
	fill(reflect.ValueOf(&image).Elem())
	image.BlockDeviceMappings = []ec2types.BlockDeviceMapping{
		{DeviceName: aws.String("/dev/xvda"), Ebs: &ec2types.EbsBlockDevice{
			SnapshotId:               aws.String("snap-source"),
			Encrypted:                aws.Bool(true),
			KmsKeyId:                 aws.String("arn:aws:kms:eu-west-1:111111111111:key/k"),
			VolumeSize:               aws.Int32(8),
			VolumeType:               ec2types.VolumeTypeGp3,
			Iops:                     aws.Int32(4000),
			Throughput:               aws.Int32(250),
			VolumeInitializationRate: aws.Int32(200),
			DeleteOnTermination:      aws.Bool(false),
			EbsCardIndex:             aws.Int32(1),
			OutpostArn:               aws.String("x"),
			AvailabilityZone:         aws.String("eu-west-1a"),
			AvailabilityZoneId:       aws.String("euw1-az1"),
		}},
		{DeviceName: aws.String("/dev/sdb"), VirtualName: aws.String("ephemeral0")},
		{DeviceName: aws.String("/dev/sdc"), NoDevice: aws.String("")},
		{
			DeviceName: aws.String("/dev/sdd"),
			Ebs: &ec2types.EbsBlockDevice{
				Encrypted:  aws.Bool(true),
				VolumeSize: aws.Int32(20),
				VolumeType: ec2types.VolumeTypeGp2,
			},
		},
	}
	return &RegisterImage{
		ImageSpec: ImageSpec{
			Name:        "golden",
			Description: "ours",
			UEFIData:    "AMZNVUVG",
			Source:      &image,
			Tags:        map[string]string{"b": "2", "a": "1"},
		},
		Snapshots: map[string]Ref{"/dev/xvda": {Known: "snap-own"}},
	}
}

var ownSnapshots = map[string]string{"/dev/xvda": "snap-own"}

// fill sets every member to a value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.String:
		v.SetString("value")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(7)
	}
}

func TestRegisterImage_everyAttribute(t *testing.T) {
	full, err := registerImageInput(fullStep(), ownSnapshots)
	if err != nil {
		t.Fatal(err)
	}
	properties := map[string]bool{ // nothing to pass: they follow from the snapshots and the type of image
		"RootDeviceType":  true,
		"Hypervisor":      true,
		"ImageType":       true,
		"Platform":        true,
		"PlatformDetails": true,
		"ProductCodes":    true,
		"UsageOperation":  true,
	}
	for _, a := range CarryTable {
		if a.How != distribution.Kept || properties[a.Name] {
			continue
		}
		without := fullStep()
		reflect.ValueOf(without.Source).Elem().FieldByName(a.Name).SetZero()
		in, err := registerImageInput(without, ownSnapshots)
		if err != nil {
			t.Fatal(err)
		}
		if reflect.DeepEqual(in, full) {
			t.Errorf("%s is kept, says the table, but RegisterImage is called the same without it", a.Name)
		}
	}
	for _, d := range DeviceTable {
		without := fullStep()
		reflect.ValueOf(without.Source.BlockDeviceMappings[0].Ebs).Elem().FieldByName(d.Name).SetZero()
		in, err := registerImageInput(without, ownSnapshots)
		if err != nil {
			t.Fatal(err)
		}
		if changes := !reflect.DeepEqual(in, full); changes != (d.How == distribution.Kept || d.Name == "SnapshotId") {
			t.Errorf("%s is %s, says the table; that it changes the call is %v", d.Name, d.How, changes)
		}
	}
	for _, change := range []struct {
		what   string
		change func(*RegisterImage)
	}{
		{"UefiData", func(s *RegisterImage) { s.UEFIData = "" }},
		{"Name", func(s *RegisterImage) { s.Name = "other" }},
		{"Description", func(s *RegisterImage) { s.Description = "" }},
		{"Tags", func(s *RegisterImage) { s.Tags = nil }},
		{"VirtualName", func(s *RegisterImage) { s.Source.BlockDeviceMappings[1].VirtualName = nil }},
		{"NoDevice", func(s *RegisterImage) { s.Source.BlockDeviceMappings[2].NoDevice = nil }},
	} {
		changed := fullStep()
		change.change(changed)
		if in, _ := registerImageInput(changed, ownSnapshots); reflect.DeepEqual(in, full) {
			t.Errorf("%s does not reach RegisterImage", change.what)
		}
	}
}

func TestRegisterImage_deviceEncryption(t *testing.T) { // 1.5.1, 1.5.2, 1.5.5
	in, err := registerImageInput(fullStep(), ownSnapshots)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range in.BlockDeviceMappings {
		if d.Ebs == nil {
			continue
		}
		if withSnapshot := d.Ebs.SnapshotId != nil; withSnapshot == (d.Ebs.Encrypted != nil) || d.Ebs.KmsKeyId != nil {
			t.Errorf("%s: snapshot %v, encrypted %v, key %v", *d.DeviceName, withSnapshot, d.Ebs.Encrypted, d.Ebs.KmsKeyId)
		}
	}
	if id := aws.ToString(in.BlockDeviceMappings[3].Ebs.SnapshotId); id != "snap-own" {
		t.Errorf("registered with %q, want the destination's own snapshot", id)
	}
}

func TestRegisterImage_copyMissing(t *testing.T) {
	if _, err := registerImageInput(fullStep(), nil); err == nil {
		t.Error("an image whose volume has no copy was to be registered")
	}
}
