// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclparse"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/config"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/testutil/golden"
)

func preflight(t *testing.T, body string) (*config.Preflight, error) {
	t.Helper()
	file, diags := hclparse.NewParser().ParseHCL([]byte(body), "template.pkr.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	f := new(config.Preflight)
	value, diags := hcldec.Decode(file.Body, hcldec.ObjectSpec(f.FlatMapstructure().HCL2Spec()), &hcl.EvalContext{})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return f, f.Prepare(value)
}

func TestPreflight_builderOptionsReachRequest(t *testing.T) {
	f, err := preflight(t, prod+`
	kms_key_id = "alias/shared"
	amazon_ebs {
		region = "eu-west-1"
		ami_name           = "golden"
		encrypt_boot       = true
		kms_key_id         = "alias/boot"
		ami_regions        = ["us-east-1", "ap-northeast-1"]
		region_kms_key_ids = { us-east-1 = "alias/east" }
		source_ami_filter {
			filters            = { name = "base-*" }
			owners             = ["self", "amazon"]
			most_recent        = true
			include_deprecated = true
		}
		launch_block_device_mappings {
			device_name = "/dev/xvda"
			encrypted   = false
		}
		launch_block_device_mappings {
			device_name = "/dev/xvdb"
			encrypted   = true
			kms_key_id  = "alias/launch"
			snapshot_id = "snap-0123456789abcdef0"
			volume_size = 20
		}
		launch_block_device_mappings {
			device_name = "/dev/xvdc"
			no_device   = true
		}
	}`)
	if err != nil {
		t.Fatal(err)
	}
	request, err := f.Request()
	if err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	want := &distribution.BuildConfig{
		AMIName:         "golden",
		EncryptBoot:     &yes,
		KMSKeyID:        "alias/boot",
		RegionKMSKeyIDs: map[string]string{"us-east-1": "alias/east"},
		Filter: distribution.BaseFilter{
			Filters:           map[string]string{"name": "base-*"},
			Owners:            []string{"amazon", "self"},
			MostRecent:        true,
			IncludeDeprecated: true,
		},
		Launch: []distribution.LaunchVolume{
			{Device: "/dev/xvda", Encrypted: &no},
			{Device: "/dev/xvdb", Encrypted: &yes, KMSKeyID: "alias/launch", SnapshotID: "snap-0123456789abcdef0", GiB: 20},
			{Device: "/dev/xvdc", NoDevice: true},
		},
	}
	if diff := cmp.Diff(want, request.Intent); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	images := []distribution.SourceImage{
		{Region: "ap-northeast-1", ImageID: distribution.Unbuilt},
		{Region: "eu-west-1", ImageID: distribution.Unbuilt},
		{Region: "us-east-1", ImageID: distribution.Unbuilt},
	}
	if diff := cmp.Diff(
		images,
		request.Images,
	); diff != "" || request.Build.Region != "eu-west-1" || request.KMSKeyID != "alias/shared" ||
		f.Timeout != 2*time.Minute {
		t.Errorf("%s\nbuilt in %s, shared under %s, within %s", diff, request.Build.Region, request.KMSKeyID, f.Timeout)
	}
	given := reflect.ValueOf(f.AmazonEBS)
	for i := range given.NumField() {
		if given.Field(i).IsZero() && given.Type().Field(i).Name != "SourceAMI" {
			t.Errorf("no test of %s", given.Type().Field(i).Name)
		}
	}
}

const started = "amazon_ebs {\nregion = \"eu-west-1\"\nsource_ami = \"ami-0123456789abcdef0\"\n}\n"

func TestPreflight_unsupportedOptions(t *testing.T) {
	_, err := preflight(t, prod+`
	existing_amis   = { eu-west-1 = "ami-0123456789abcdef0" }
	mode          = "plan"
	output_directory = "x"
	hcp_packer = true
	on_failure = "cleanup"
	poll_interval = "1s"
	fail_on       = "everything"
	amazon_ebs {
		region = "eu-west-1"
		source_ami         = "golden"
		kms_key_id         = "boot"
		ami_regions        = ["us-east-1"]
		region_kms_key_ids = { us-west-2 = "arn:aws:kms:us-east-1:111111111111:alias/x" }
		source_ami_filter {}
		launch_block_device_mappings {
			kms_key_id = "launch"
		}
	}`)
	if err == nil {
		t.Fatal("accepted")
	}
	golden.Equal(t, "testdata/preflight.golden", err.Error()+"\n")
	if _, err := preflight(
		t,
		prod+"\namazon_ebs {}",
	); err == nil || !strings.Contains(err.Error(), "amazon_ebs: source_ami: missing") {
		t.Errorf("without a source AMI: %v", err)
	}
}

func TestPreflight_failOn(t *testing.T) {
	for option, want := range map[string][]bool{
		"":                      {true, false, false},
		"fail_on = \"error\"":   {true, false, false},
		"fail_on = \"warning\"": {true, true, false},
		"fail_on = \"never\"":   {false, false, false},
	} {
		f, err := preflight(t, prod+"\n"+started+option)
		if err != nil {
			t.Fatal(err)
		}
		got := []bool{
			f.Fails(distribution.Refused),
			f.Fails(distribution.Warning),
			f.Fails(distribution.Note),
		}
		if !reflect.DeepEqual(
			got,
			want,
		) {
			t.Errorf("%s: %v", option, got)
		}
	}
}

// The list that a preflight returns gives the post-processor the same targets as the preflight had.
func TestPreflight_targetsWithDefaults(t *testing.T) {
	for _, o := range options {
		if !strings.HasPrefix(o.option, "target.") {
			continue
		}
		f, err := preflight(t, o.body+"\n"+started)
		if err != nil {
			t.Fatalf("%s: %v", o.option, err)
		}
		request, err := f.Request()
		if err != nil {
			t.Fatal(err)
		}
		list, err := f.TargetsAsJSON(request, map[string][]string{"target[0]": {"999999999999", "888888888888"}})
		if err != nil {
			t.Fatal(err)
		}
		c := new(config.Config)
		if err := c.Prepare(packer, map[string]any{"targets_json": list, "image_family": "web"}); err != nil {
			t.Fatalf("%s: %v", o.option, err)
		}
		again, err := c.Request(request.Images, distribution.Build{})
		if err != nil {
			t.Fatal(err)
		}
		want := request.Targets[0]
		if len(want.Regions) == 0 {
			want.Regions = []string{"eu-west-1"}
		}
		if len(want.Units) > 0 {
			want.AccountIDs, want.Units, want.ExcludedIDs = []string{"888888888888", "999999999999"}, nil, nil
		}
		if diff := cmp.Diff(want, again.Targets[0]); diff != "" {
			t.Errorf("%s: -given +returned:\n%s", o.option, diff)
		}
	}
}

// Organizational units may be empty. That is a warning, because the other targets still get their images.
func TestPreflight_targetWithEmptyUnits(t *testing.T) {
	f, err := preflight(
		t,
		prod+"\ntarget {\nname = \"sandbox\"\nkms_key_id = \"default\"\nassume_role {\nrole_name = "+
			"\"copier\"\n}\norganizational_unit_ids = [\"ou-ab12-12345678\"]\n}\n"+started,
	)
	if err != nil {
		t.Fatal(err)
	}
	request, err := f.Request()
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.TargetsAsJSON(request, map[string][]string{request.Targets[0].Name: {"999999999999"}})
	if err != nil {
		t.Fatal(err)
	}
	c := new(config.Config)
	if err := c.Prepare(packer, map[string]any{"targets_json": list}); err != nil {
		t.Fatal(err)
	}
	if again, err := c.Request(request.Images, distribution.Build{}); err != nil || len(again.Targets) != 1 {
		t.Errorf("%+v, %v", again.Targets, err)
	}
}
