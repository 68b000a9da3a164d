// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awssim/wire"
)

func TestParse_signedRequest(t *testing.T) {
	for service, want := range map[string]struct {
		operation string
		call      func(aws.Config) error
	}{
		"ec2": {"DescribeRegions", func(c aws.Config) error {
			_, err := ec2.NewFromConfig(c).DescribeRegions(context.Background(), nil)
			return err
		}},
		"sts": {"GetCallerIdentity", func(c aws.Config) error {
			_, err := sts.NewFromConfig(c).GetCallerIdentity(context.Background(), nil)
			return err
		}},
		"iam": {"ListRoles", func(c aws.Config) error {
			_, err := iam.NewFromConfig(c).ListRoles(context.Background(), nil)
			return err
		}},
		"kms": {"ListKeys", func(c aws.Config) error {
			_, err := kms.NewFromConfig(c).ListKeys(context.Background(), nil)
			return err
		}},
		"ssm": {"DescribeParameters", func(c aws.Config) error {
			_, err := ssm.NewFromConfig(c).DescribeParameters(context.Background(), nil)
			return err
		}},
		"organizations": {"ListRoots", func(c aws.Config) error {
			_, err := organizations.NewFromConfig(c).ListRoots(context.Background(), nil)
			return err
		}},
	} {
		var got *wire.Request
		err := want.call(config(func(h *http.Request) (*http.Response, error) {
			r, err := wire.Parse(h)
			got = r
			return r.Refuse("request-1", 400, "Refused", "because"), err
		}))

		if got.Service != service || got.Region != "us-east-1" || got.AccessKeyID != "AKIDEXAMPLE" ||
			got.SessionToken != "token" || got.Operation != want.operation {
			t.Errorf("%s: read %+v", service, got)
		}

		var refusal smithy.APIError
		if !errors.As(err, &refusal) || refusal.ErrorCode() != "Refused" || refusal.ErrorMessage() != "because" {
			t.Errorf("%s: the SDK reads the refusal as %v", service, err)
		}
		var response *awshttp.ResponseError
		if !errors.As(err, &response) || response.HTTPStatusCode() != 400 || response.ServiceRequestID() != "request-1" {
			t.Errorf("%s: the SDK reads the response as %v", service, err)
		}
	}
}

func TestParse_presignedURL(t *testing.T) {
	presigned, err := sts.NewPresignClient(sts.NewFromConfig(config(
		nil,
	))).PresignGetCallerIdentity(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}

	h, _ := http.NewRequest(presigned.Method, presigned.URL, nil)
	r, err := wire.Parse(h)
	if err != nil {
		t.Fatal(err)
	}

	if r.Service != "sts" || r.Region != "us-east-1" || r.AccessKeyID != "AKIDEXAMPLE" || r.SessionToken != "token" ||
		r.Operation != "GetCallerIdentity" {
		t.Errorf("read %+v", r)
	}

	if _, err := r.Decode(&sts.GetCallerIdentityInput{}); err != nil {
		t.Error(err)
	}
}

func TestDecode_unknownNames(t *testing.T) {
	for _, c := range []struct {
		what, service, operation, body string
		in                             any
		code, names                    string
	}{
		{"operation", "ec2", "", "Action=CopySnapshots", &ec2.CopySnapshotInput{}, "InvalidAction", "CopySnapshots"},
		{"operation", "sts", "", "Action=AssumeRules", &sts.AssumeRoleInput{}, "InvalidAction", "AssumeRules"},
		{"operation", "kms", "CreateGrunt", "{}", &kms.CreateGrantInput{}, "UnknownOperationException", "CreateGrunt"},
		{"no operation", "ec2", "", "Version=2016-11-15", nil, "MissingAction", "Action"},
		{"version", "ec2", "", "Action=CopySnapshot&Version=2014-01-01", nil, "InvalidAction", "2014-01-01"},

		{"parameter", "ec2", "", "Action=CopySnapshot&KmsKey=k", &ec2.CopySnapshotInput{}, "UnknownParameter", " KmsKey "},
		{
			"parameter in small letters", "ec2", "", "Action=CopySnapshot&kmsKeyId=k", &ec2.CopySnapshotInput{},
			"UnknownParameter", " kmsKeyId ",
		},
		{
			"parameter of a list's element", "ec2", "", "Action=DescribeImages&Filter.1.Names=n", &ec2.DescribeImagesInput{},
			"UnknownParameter", " Filter.1.Names ",
		},
		{
			"parameter below a list of no known name", "ec2", "", "Action=DescribeImages&Filters.1.Name=n",
			&ec2.DescribeImagesInput{}, "UnknownParameter", " Filters.1.Name ",
		},
		{
			"parameter below a text", "ec2", "", "Action=CopySnapshot&KmsKeyId=k&KmsKeyId.1=l", &ec2.CopySnapshotInput{},
			"UnknownParameter", " KmsKeyId ",
		},
		{
			"list with a gap", "ec2", "", "Action=DescribeImages&ImageId.1=a&ImageId.3=c", &ec2.DescribeImagesInput{},
			"UnknownParameter", " ImageId.3 ",
		},
		{
			"list from 0", "ec2", "", "Action=DescribeImages&ImageId.0=a", &ec2.DescribeImagesInput{}, "UnknownParameter",
			" ImageId.0 ",
		},
		{
			"list with two numbers for one", "ec2", "", "Action=DescribeImages&ImageId.1=a&ImageId.01=b",
			&ec2.DescribeImagesInput{}, "UnknownParameter", " ImageId.01 ",
		},
		{
			"list without member", "sts", "", "Action=AssumeRole&Tags.1.Key=k", &sts.AssumeRoleInput{}, "UnknownParameter",
			" Tags.1.Key ",
		},
		{
			"embedded marker of the SDK", "ec2", "", "Action=CopySnapshot&noSmithyDocumentSerde=1", &ec2.CopySnapshotInput{},
			"UnknownParameter", " noSmithyDocumentSerde ",
		},
		{
			"parameter", "kms", "CreateGrant", `{"Constraints":{"SourceArm":"a"}}`, &kms.CreateGrantInput{}, "UnknownParameter",
			" Constraints.SourceArm ",
		},
		{
			"parameter in small letters", "kms", "CreateGrant", `{"keyId":"k"}`, &kms.CreateGrantInput{}, "UnknownParameter",
			" keyId ",
		},
		{
			"parameter given twice", "ec2", "", "Action=CopySnapshot&KmsKeyId=k&KmsKeyId=l", nil, "MalformedQueryString",
			" KmsKeyId ",
		},

		{
			"enumeration value", "ec2", "", "Action=CreateVolume&VolumeType=gp4", &ec2.CreateVolumeInput{},
			"InvalidParameterValue", "(gp4) for parameter VolumeType",
		},
		{
			"empty enumeration value", "ec2", "", "Action=CreateVolume&VolumeType=", &ec2.CreateVolumeInput{},
			"InvalidParameterValue", "() for parameter VolumeType",
		},
		{
			"enumeration value", "iam", "", "Action=ListPolicies&Scope=Some", &iam.ListPoliciesInput{}, "ValidationError",
			"'Some' at 'Scope' failed to satisfy constraint: Member must satisfy enum value set: [All, AWS, Local]",
		},
		{
			"enumeration value", "kms", "CreateGrant", `{"Operations":["Decrypt","Decript"]}`, &kms.CreateGrantInput{},
			"ValidationException", "'Decript' at 'Operations.2'",
		},

		{
			"truth value", "ec2", "", "Action=CopySnapshot&Encrypted=yes", &ec2.CopySnapshotInput{}, "InvalidParameterValue",
			"(yes) for parameter Encrypted",
		},
		{
			"number", "ec2", "", "Action=CreateVolume&Size=4294967296", &ec2.CreateVolumeInput{}, "InvalidParameterValue",
			"(4294967296) for parameter Size",
		},
		{
			"number", "sts", "", "Action=AssumeRole&DurationSeconds=1h", &sts.AssumeRoleInput{}, "MalformedInput",
			"'1h' for DurationSeconds",
		},
		{
			"type", "kms", "CreateGrant", `{"KeyId":1}`, &kms.CreateGrantInput{}, "SerializationException",
			"KeyId must be a string",
		},
		{"no JSON", "kms", "CreateGrant", `{"KeyId":`, &kms.CreateGrantInput{}, "SerializationException", "JSON"},
		{
			"no object", "kms", "CreateGrant", `null`, &kms.CreateGrantInput{}, "SerializationException",
			"the body must be an object",
		},
		{"two objects", "kms", "CreateGrant", `{} {}`, &kms.CreateGrantInput{}, "SerializationException", "more than one"},
		{
			"null in a list", "kms", "CreateGrant", `{"GrantTokens":[null]}`, &kms.CreateGrantInput{}, "SerializationException",
			"GrantTokens.1 must be a string",
		},
	} {
		r, err := wire.Parse(signed(c.service, c.operation, c.body))
		if err == nil {
			_, err = r.Decode(c.in)
		}
		var refusal *wire.Error
		if !errors.As(err, &refusal) || refusal.Code != c.code || !strings.Contains(refusal.Message, c.names) {
			t.Errorf("%s %s (%s): got %v, want %s naming %s", c.service, c.body, c.what, err, c.code, c.names)
		}
	}
}

func TestParse_invalidHeader(t *testing.T) {
	for _, c := range []struct {
		authorization, target, code, contentType string
	}{
		{"", "", "MissingAuthenticationToken", "text/xml;charset=UTF-8"},
		{"", "TrentService.ListKeys", "MissingAuthenticationTokenException", "application/x-amz-json-1.1"},
		{
			"AWS4-HMAC-SHA256 Credential=AKID/us-east-1/kms, Signature=0", "TrentService.ListKeys",
			"IncompleteSignatureException", "application/x-amz-json-1.1",
		},
		{
			"AWS4-HMAC-SHA256 Credential=AKID/20260203/us-east-1/s3/aws4_request, Signature=0", "", "InvalidAction",
			"text/xml;charset=UTF-8",
		},
		{
			"AWS4-HMAC-SHA256 Credential=AKID/20260203/us-east-1/ec2/aws4_request, Signature=0", "TrentService.ListKeys",
			"InvalidAction", "application/x-amz-json-1.1",
		},
		{
			"AWS4-HMAC-SHA256 Credential=AKID/20260203/us-east-1/kms/aws4_request, Signature=0", "AmazonSSM.GetParameter",
			"UnknownOperationException", "application/x-amz-json-1.1",
		},
	} {
		h := signed("ec2", "", "Action=DescribeRegions")
		h.Header = http.Header{
			"Authorization": {c.authorization}, "X-Amz-Target": {c.target}, "X-Amz-Date": {"20260203T040506Z"},
		}
		r, err := wire.Parse(h)
		var refusal *wire.Error
		if !errors.As(err, &refusal) || refusal.Code != c.code {
			t.Errorf("%+v: got %v", c, err)
			continue
		}

		got := r.Refuse("id", refusal.Status, refusal.Code, refusal.Message).Header.Get("Content-Type")
		if got != c.contentType {
			t.Errorf("%+v: refused in %s", c, got)
		}
	}
}

// TestDecode_emptyString shows that an empty key counts as present (rule 1.1.11).
func TestDecode_emptyString(t *testing.T) {
	for body, want := range map[string]*string{
		"Action=CopySnapshot":           nil,
		"Action=CopySnapshot&KmsKeyId=": aws.String(""),
		"Action=CopySnapshot&KmsKeyId":  aws.String(""),
	} {
		r, err := wire.Parse(signed("ec2", "", body))
		if err != nil {
			t.Fatal(err)
		}
		var in ec2.CopySnapshotInput
		if _, err := r.Decode(&in); err != nil || !reflect.DeepEqual(in.KmsKeyId, want) {
			t.Errorf("%s: got %v, %v", body, in.KmsKeyId, err)
		}
	}
}

func TestDecode_emptyList(t *testing.T) {
	for body, want := range map[string][]string{
		"Action=AssumeRole":                    nil,
		"Action=AssumeRole&TransitiveTagKeys=": {},
	} {
		r, _ := wire.Parse(signed("sts", "", body))
		var in sts.AssumeRoleInput
		if _, err := r.Decode(&in); err != nil || !reflect.DeepEqual(in.TransitiveTagKeys, want) {
			t.Errorf("%s: got %#v, %v", body, in.TransitiveTagKeys, err)
		}
	}
}

func TestEncode_nilAndEmptyDiffer(t *testing.T) {
	want := &ec2.DescribeSnapshotsOutput{Snapshots: []types.Snapshot{
		{Description: aws.String(""), Tags: []types.Tag{}, StartTime: aws.Time(time.Unix(0, 0).UTC())},
		{},
	}}
	got, err := ec2.NewFromConfig(config(func(h *http.Request) (*http.Response, error) {
		r, err := wire.Parse(h)
		return r.Answer("id", want), err
	})).DescribeSnapshots(context.Background(), nil)
	if err != nil || !reflect.DeepEqual(got.Snapshots, want.Snapshots) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestDecode_hiddenParameter reads DestinationRegion of CopySnapshot, which the SDK does not export.
func TestDecode_hiddenParameter(t *testing.T) {
	r, _ := wire.Parse(signed("ec2", "", "Action=CopySnapshot&DestinationRegion=eu-west-1&SourceRegion=us-east-1"))
	var in ec2.CopySnapshotInput
	extras, err := r.Decode(&in)
	if err != nil || extras["DestinationRegion"] != "eu-west-1" || *in.SourceRegion != "us-east-1" {
		t.Errorf("got %v, %v", extras, err)
	}
}

// FuzzQuery shows that the SDK sends whatever the parser accepts in a form that the parser accepts again, with the same
// meaning.
func FuzzQuery(f *testing.F) {
	for _, body := range []string{
		"Action=CopySnapshot&KmsKeyId=&Encrypted=true&DestinationRegion=eu-west-1&SourceSnapshotId=snap-1" +
			"&SourceRegion=us-east-1&Version=2016-11-15",
		"Action=DescribeImages&Filter.1.Name=name&Filter.1.Value.1=a&Filter.1.Value.2=b&Owner.1=self&MaxResults=7",
		"Action=RegisterImage&Name=n&BlockDeviceMapping.1.DeviceName=/dev/sda1" +
			"&BlockDeviceMapping.1.Ebs.SnapshotId=snap-1&TagSpecification.1.Tag.1.Key=k",
		"Action=RunInstances&InstanceMarketOptions.SpotOptions.ValidUntil=2000-01-01T00%3A00%3A00.5Z&MinCount=1" +
			"&MaxCount=1&UserData=eA%3D%3D",
		"Action=AssumeRole&RoleArn=arn&RoleSessionName=s&Tags.member.1.Key=k&Tags.member.1.Value=&TransitiveTagKeys=" +
			"&PolicyArns.member.1.arn=a",
		"Action=SimulatePrincipalPolicy&ActionNames.member.1=a&PolicySourceArn=p" +
			"&ContextEntries.member.1.ContextKeyType=string",
		"Action=DescribeImages&ImageId.1&ImageId.01=;&=&.=.&%",
	} {
		for _, service := range []string{"ec2", "sts", "iam"} {
			f.Add(service, body)
		}
	}

	f.Fuzz(func(t *testing.T, service, body string) {
		r, err := wire.Parse(signed(service, "", body))
		if err != nil {
			checkRefusal(t, r, err)
			return
		}

		client, known := services[service]
		if !known {
			return
		}

		var sent []byte
		call := reflect.ValueOf(client(config(func(h *http.Request) (*http.Response, error) {
			r, err := wire.Parse(h)
			sent = r.Body
			return r.Refuse("id", 400, "Done", "done"), err
		}))).MethodByName(r.Operation)
		if !call.IsValid() || call.Type().NumIn() != 3 {
			// The SDK has no such operation.
			return
		}

		in := reflect.New(call.Type().In(1).Elem())
		if _, err := r.Decode(in.Interface()); err != nil {
			checkRefusal(t, r, err)
			return
		}

		again := func() string {
			sent = nil
			call.Call([]reflect.Value{reflect.ValueOf(context.Background()), in})
			return string(sent)
		}

		first := again()
		if first == "" {
			return // the SDK refuses it because a required member is missing
		}

		if r, err = wire.Parse(signed(service, "", first)); err == nil {
			in = reflect.New(in.Type().Elem())
			_, err = r.Decode(in.Interface())
		}

		if err != nil {
			t.Fatalf("accepted %q but not %q: %v", body, first, err)
		}
		if second := again(); second != first {
			t.Fatalf("%q becomes %q", first, second)
		}
	})
}

func checkRefusal(t *testing.T, r *wire.Request, err error) {
	var refusal *wire.Error
	if r == nil || !errors.As(err, &refusal) || refusal.Status < 400 || refusal.Code == "" || refusal.Message == "" {
		t.Fatalf("refused with %#v", err)
	}
}

// BenchmarkDescribeSnapshots measures one poll of a run with a thousand copies.
func BenchmarkDescribeSnapshots(b *testing.B) {
	var body strings.Builder
	body.WriteString("Action=DescribeSnapshots&Version=2016-11-15")
	out := &ec2.DescribeSnapshotsOutput{}
	for i := range 1000 {
		fmt.Fprintf(&body, "&SnapshotId.%d=snap-%017x", i+1, i)
		var snapshot types.Snapshot
		fill(reflect.ValueOf(&snapshot).Elem(), nil)
		out.Snapshots = append(out.Snapshots, snapshot)
	}

	for b.Loop() {
		r, err := wire.Parse(signed("ec2", "", body.String()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Decode(&ec2.DescribeSnapshotsInput{}); err != nil {
			b.Fatal(err)
		}
		r.Answer("id", out)
	}
}
