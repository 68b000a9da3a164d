// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

func withoutSSMRetries(o *ssm.Options) { o.Retryer = aws.NopRetryer{} }

func (f fixture) ssm(account string) *ssm.Client {
	return ssm.NewFromConfig(f.world.Config(account, home), withoutSSMRetries)
}

// putParameter sets a parameter of the type String.
func (f fixture) putParameter(
	client *ssm.Client, name, value string, changes ...func(*ssm.PutParameterInput),
) (*ssm.PutParameterOutput, error) {
	in := &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeString}
	for _, change := range changes {
		change(in)
	}
	return client.PutParameter(f.Context(), in)
}

func overwriting(in *ssm.PutParameterInput) { in.Overwrite = aws.Bool(true) }

func ofImage(in *ssm.PutParameterInput) { in.DataType = aws.String("aws:ec2:image") }

func securedBy(key string) func(*ssm.PutParameterInput) {
	return func(in *ssm.PutParameterInput) {
		in.Type = ssmtypes.ParameterTypeSecureString
		if key != "" {
			in.KeyId = &key
		}
	}
}

// parameterValue returns a parameter's value. Empty if it does not exist.
func (f fixture) parameterValue(client *ssm.Client, name string) string {
	f.Helper()
	got, err := client.GetParameter(f.Context(), &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
	if err != nil {
		requireErrorCode(f, err, "ParameterNotFound")
		return ""
	}
	return *got.Parameter.Value
}

func TestPutParameter_invalid(t *testing.T) {
	deep := func(levels int) string { return strings.Repeat("/x", levels) }
	for name, row := range map[string]struct {
		name   string
		value  string
		change func(*ssm.PutParameterInput)
		code   string // empty for accepted
	}{
		"7.1 an image as SecureString": {
			change: func(in *ssm.PutParameterInput) { ofImage(in); securedBy("")(in) }, code: "ValidationException",
		},
		"7.1 an unknown data type": {
			change: func(in *ssm.PutParameterInput) { in.DataType = aws.String("aws:ec2:snapshot") },
			code:   "ValidationException",
		},
		"7.7 a name of AWS":        {name: "/aws/image", code: "AccessDeniedException"},
		"7.7 a name like AWS":      {name: "AWSome", code: "AccessDeniedException"},
		"7.7 a name of ssm":        {name: "ssm-image", code: "ValidationException"},
		"7.7 a blank in the name":  {name: "a b", code: "ValidationException"},
		"7.7 a path without slash": {name: "golden/image", code: "ValidationException"},
		"7.7 15 levels":            {name: deep(15)},
		"7.7 16 levels":            {name: deep(16), code: "HierarchyLevelLimitExceededException"},
		"7.7 1012 characters": {
			name: strings.Repeat("x", 1012-len("arn:aws:ssm:us-east-1:111111111111:parameter/")), code: "ValidationException",
		},
		"7.7 1011 characters": {
			name: strings.Repeat("x", 1011-len("arn:aws:ssm:us-east-1:111111111111:parameter/")),
		},
		"7.7 4 KB":           {value: strings.Repeat("x", 4096)},
		"7.7 more than 4 KB": {value: strings.Repeat("x", 4097), code: "ValidationException"},
		"7.7 8 KB, advanced": {
			value:  strings.Repeat("x", 8192),
			change: func(in *ssm.PutParameterInput) { in.Tier = ssmtypes.ParameterTierAdvanced },
		},
		"7.7 more than 8 KB, advanced": {
			value:  strings.Repeat("x", 8193),
			change: func(in *ssm.PutParameterInput) { in.Tier = ssmtypes.ParameterTierAdvanced }, code: "ValidationException",
		},
		"7.8 no type": {change: func(in *ssm.PutParameterInput) { in.Type = "" }, code: "ValidationException"},
		"7.8 a pattern that is none": {
			change: func(in *ssm.PutParameterInput) { in.AllowedPattern = aws.String("(") },
			code:   "InvalidAllowedPatternException",
		},
		"7.8 a value beside its pattern": {
			change: func(in *ssm.PutParameterInput) {
				in.AllowedPattern = aws.String("ami-.*")
			},
			code: "ParameterPatternMismatchException",
		},
		"7.8 tags and overwrite": {change: func(in *ssm.PutParameterInput) {
			overwriting(in)
			in.Tags = []ssmtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
		}, code: "ValidationException"},
		"7.8 a key that is not there": {change: securedBy("alias/unknown"), code: "InvalidKeyId"},
		"parameter policies of its own": {
			change: func(in *ssm.PutParameterInput) { in.Policies = aws.String("[]") }, code: "UnsupportedOperation",
		},
	} {
		t.Run(name, func(t *testing.T) {
			runWithFixture(t, func(f fixture) {
				if row.name == "" {
					row.name = "parameter"
				}
				if row.value == "" {
					row.value = "value"
				}

				change := row.change
				if change == nil {
					change = func(*ssm.PutParameterInput) {}
				}

				_, err := f.putParameter(f.ssm(owner), row.name, row.value, change)
				if row.code == "" {
					requireNoError(0, err)(f)
					return
				}

				requireErrorCode(f, err, row.code)
			})
		})
	}
}

func TestPutParameter_overwrite(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := f.ssm(owner)
		requireNoError(f.putParameter(client, "p", "one", func(in *ssm.PutParameterInput) {
			in.Tags = []ssmtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
		}))(f)

		_, err := f.putParameter(client, "p", "two")
		requireErrorCode(f, err, "ParameterAlreadyExists") // rule 7.8: Overwrite is false by default
		if got := requireOutput(f.putParameter(client, "p", "two", overwriting))(f).Version; got != 2 {
			f.Errorf("7.8: version %d", got)
		}

		if _, err := f.putParameter(client, "p", "three", overwriting, ofImage); err == nil {
			f.Error("7.4: another data type was accepted")
		}

		requireNoError(client.AddTagsToResource(f.Context(),
			&ssm.AddTagsToResourceInput{
				ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: aws.String("p"),
				Tags: []ssmtypes.Tag{{Key: aws.String("l"), Value: aws.String("w")}},
			}))(f)

		tags := requireOutput(client.ListTagsForResource(f.Context(), &ssm.ListTagsForResourceInput{
			ResourceType: ssmtypes.ResourceTypeForTaggingParameter, ResourceId: aws.String("p"),
		}))(f).TagList
		if len(tags) != 2 || *tags[0].Key != "k" || *tags[1].Value != "w" {
			f.Errorf("7.8: tags %+v", tags)
		}

		for name, want := range map[string]string{
			"p": "two", "p:1": "one", "arn:aws:ssm:" + home + ":" + owner + ":parameter/p": "two",
		} {
			if got := f.parameterValue(client, name); got != want {
				f.Errorf("%s is %q", name, got)
			}
		}

		_, err = client.GetParameter(f.Context(), &ssm.GetParameterInput{Name: aws.String("p:3")})
		requireErrorCode(f, err, "ParameterVersionNotFound")
		for range 100 { // rule 7.7: the maximum number of versions
			requireNoError(f.putParameter(client, "p", "many", overwriting))(f)
		}

		_, err = client.GetParameter(f.Context(), &ssm.GetParameterInput{Name: aws.String("p:2")})
		requireErrorCode(f, err, "ParameterVersionNotFound")
		requireNoError(client.DeleteParameter(f.Context(), &ssm.DeleteParameterInput{Name: aws.String("p")}))(f)
		if got := requireOutput(f.putParameter(client, "p", "ami", ofImage))(f).Version; got != 1 {
			// rule 7.4: deleting the parameter allows another data type
			f.Errorf("7.4: version %d", got)
		}
	})
}

// TestPutParameter_imageDataType covers rule 7.2. An image parameter is accepted first and checked later.
func TestPutParameter_imageDataType(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client, image := f.ssm(owner), f.createImage("")
		private := requireOutput(f.ssm(member).PutParameter(f.Context(), &ssm.PutParameterInput{
			Name:     aws.String("/golden"),
			Value:    &image,
			Type:     "String",
			DataType: aws.String("aws:ec2:image"),
		}))(f)

		blind := ssm.NewFromConfig(
			f.sessionCredentials(f.createRole(
				owner, "blind", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ssm:*"`),
			)), withoutSSMRetries,
		)

		for name, put := range map[string]func() (*ssm.PutParameterOutput, error){
			"/unknown": func() (*ssm.PutParameterOutput, error) {
				return f.putParameter(client, "/unknown", "ami-0fedcba9876543210", ofImage)
			},
			"/no-image": func() (*ssm.PutParameterOutput, error) { return f.putParameter(client, "/no-image", "text", ofImage) },
			"/blind":    func() (*ssm.PutParameterOutput, error) { return f.putParameter(blind, "/blind", image, ofImage) },
			"/golden":   func() (*ssm.PutParameterOutput, error) { return f.putParameter(client, "/golden", image, ofImage) },
		} {
			if got := requireOutput(put())(f); got.Version != 1 || private.Version != 1 {
				f.Errorf("7.2: %s: version %d", name, got.Version)
			}
		}

		if got := f.parameterValue(client, "/golden"); got != "" {
			f.Errorf("7.2: at once the value is %q", got)
		}

		time.Sleep(time.Minute) // 7.3
		for name, want := range map[string]string{"/golden": image, "/unknown": "", "/no-image": "", "/blind": ""} {
			if got := f.parameterValue(client, name); got != want {
				f.Errorf("7.2: after a minute %s is %q", name, got)
			}
		}

		if got := f.parameterValue(f.ssm(member), "/golden"); got != "" {
			f.Errorf("7.2: an image that the account cannot see was written: %q", got)
		}

		other := f.createImage("")
		requireNoError(f.putParameter(client, "/golden", other, ofImage, overwriting))(f)
		if got := f.parameterValue(client, "/golden"); got != image {
			f.Errorf("7.2: until then the value is %q", got)
		}

		time.Sleep(time.Minute)
		got := requireOutput(client.GetParameter(f.Context(), &ssm.GetParameterInput{
			Name: aws.String("/golden"),
		}))(f).Parameter
		if *got.Value != other || got.Version != 2 || *got.DataType != "aws:ec2:image" {
			f.Errorf("7.2: %+v", got)
		}

		requireNoError(f.putParameter(client, "/golden", "ami-0fedcba9876543210", ofImage, overwriting))(f)
		time.Sleep(time.Minute)
		if got := f.parameterValue(client, "/golden"); got != other {
			f.Errorf("7.2: overwritten by an image that is not there: %q", got)
		}
	})
}

// TestRunInstances_imageParameter covers rule 7.11. A launch accepts "resolve:ssm:<name>" if the caller can read the
// parameter.
func TestRunInstances_imageParameter(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		image := f.createImage("")
		requireNoError(f.putParameter(f.ssm(owner), "/golden", image))(f)
		launch := func(client *ec2.Client, name string) (*ec2.RunInstancesOutput, error) {
			return client.RunInstances(f.Context(), &ec2.RunInstancesInput{
				ImageId:      aws.String("resolve:ssm:" + name),
				InstanceType: types.InstanceTypeT3Nano,
				MinCount:     aws.Int32(1),
				MaxCount:     aws.Int32(1),
			})
		}

		if got := requireOutput(launch(f.ec2, "/golden"))(f).Instances[0]; *got.ImageId != image {
			f.Errorf("launched %s", *got.ImageId)
		}

		_, err := launch(f.ec2, "/unknown")
		requireErrorCode(f, err, "InvalidParameterValue")
		_, err = launch(
			ec2Of(f.sessionCredentials(f.createRole(
				owner, "launcher", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ec2:*"`),
			))), "/golden",
		)

		requireErrorMessage(f, err, "UnauthorizedOperation", "ssm:GetParameters")
	})
}

// TestParameter_secureString covers rules 7.9 and 7.10. A SecureString is encrypted with a KMS key, and reading it
// needs the key. Parameter Store passes on errors of KMS.
func TestParameter_secureString(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		key := f.createKey()
		writer := ssm.NewFromConfig(
			f.sessionCredentials(f.createRole(
				owner, "writer", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ssm:*","kms:Encrypt"`),
			)), withoutSSMRetries,
		)

		reader := ssm.NewFromConfig(
			f.sessionCredentials(f.createRole(
				owner, "reader", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ssm:*","kms:Decrypt"`),
			)), withoutSSMRetries,
		)

		// rule 7.9: the standard tier needs Encrypt
		requireNoError(f.putParameter(writer, "/secret", "text", securedBy(key)))(f)
		_, err := f.putParameter(writer, "/large", "text", securedBy(key), func(in *ssm.PutParameterInput) {
			in.Tier = ssmtypes.ParameterTierAdvanced
		})

		// rule 7.9: the advanced tier needs a data key
		requireErrorMessage(f, err, "AccessDeniedException", "kms:GenerateDataKey")
		_, err = f.putParameter(reader, "/other", "text", securedBy(key))
		requireErrorMessage(f, err, "AccessDeniedException", "kms:Encrypt")

		if got := f.parameterValue(reader, "/secret"); got != "text" {
			f.Errorf("7.9: decrypted %q", got)
		}

		_, err = writer.GetParameter(f.Context(), &ssm.GetParameterInput{
			Name: aws.String("/secret"), WithDecryption: aws.Bool(true),
		})

		// rule 7.10: Parameter Store passes on errors of KMS
		requireErrorMessage(
			f, err, "AccessDeniedException",
			"The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are "+
				"not allowed to access.",
		)

		encrypted := requireOutput(writer.GetParameter(f.Context(), &ssm.GetParameterInput{
			Name: aws.String("/secret"),
		}))(f).Parameter
		if strings.Contains(*encrypted.Value, "text") { // rule 7.9: the ciphertext, without a permission on the key
			f.Errorf("7.9: without decryption %q", *encrypted.Value)
		}

		requireNoError(f.kms.DisableKey(f.Context(), &kms.DisableKeyInput{KeyId: &key}))(f)
		_, err = reader.GetParameter(f.Context(), &ssm.GetParameterInput{
			Name: aws.String("/secret"), WithDecryption: aws.Bool(true),
		})

		requireErrorCode(f, err, "InvalidKeyId") // 7.9
		_, err = f.putParameter(writer, "/another", "text", securedBy(key))
		requireErrorCode(f, err, "InvalidKeyId") // 7.8
		// Rule 7.9: without a key, alias/aws/ssm is used, which all principals of the account can use through Parameter
		// Store.
		bare := ssm.NewFromConfig(
			f.sessionCredentials(f.createRole(
				owner, "bare", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ssm:*"`),
			)), withoutSSMRetries,
		)

		requireNoError(f.putParameter(bare, "/default", "text", securedBy("")))(f)
		if got := f.parameterValue(bare, "/default"); got != "text" {
			f.Errorf("7.9: %q", got)
		}
		if created := f.describeKey(f.kms, "alias/aws/ssm"); created.KeyManager != kmstypes.KeyManagerTypeAws {
			f.Errorf("7.9: %+v", created)
		}
	})
}

// TestParameter_permissions covers rule 7.6. Publishing a parameter needs permissions for the parameter, its tags
// and the image.
func TestParameter_permissions(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		config := f.sessionCredentials(f.createRole(owner, "publisher", trustStatement(rootOf(owner), `"sts:*"`),
			`{"Effect":"Allow","Action":["ssm:PutParameter","ssm:GetParameter"],"Resource":"arn:aws:ssm:`+home+`:`+owner+
				`:parameter/golden/*"}`))

		client := ssm.NewFromConfig(config, withoutSSMRetries)
		requireNoError(f.putParameter(client, "/golden/image", "value"))(f)
		_, err := f.putParameter(client, "/other/image", "value")
		// rule 7.6: publishing a parameter needs permissions for the parameter, its tags and the image
		requireErrorMessage(
			f, err, "AccessDeniedException", "because no identity-based policy allows the ssm:PutParameter action",
		)

		_, err = f.putParameter(client, "/golden/tagged", "value", func(in *ssm.PutParameterInput) {
			in.Tags = []ssmtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
		})

		requireErrorMessage(f, err, "AccessDeniedException", "ssm:AddTagsToResource") // 7.6
		records := f.world.Records()
		if last := records[len(records)-1]; !slices.Contains(last.Rules, "7.6") {
			f.Errorf("recorded rules %v", last.Rules)
		}
	})
}

func TestGetParametersByPath_filters(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := f.ssm(owner)
		for i := range 12 {
			requireNoError(f.putParameter(client, fmt.Sprintf("/golden/%02d", i), "value"))(f)
		}

		requireNoError(f.putParameter(client, "/golden/deep/image", "value"))(f)
		requireNoError(f.putParameter(client, "/goldenrod", "value"))(f)
		read := func(recursive bool) (names []string) {
			pages := ssm.NewGetParametersByPathPaginator(client, &ssm.GetParametersByPathInput{
				Path: aws.String("/golden"), Recursive: &recursive,
			})
			for pages.HasMorePages() {
				for _, p := range requireOutput(pages.NextPage(f.Context()))(f).Parameters {
					names = append(names, *p.Name)
				}
			}
			return names
		}

		if got := read(false); len(got) != 12 || !slices.IsSorted(got) {
			f.Errorf("one level: %v", got)
		}
		if got := read(true); len(got) != 13 {
			f.Errorf("recursive: %v", got)
		}

		for option, want := range map[string]int{"OneLevel": 12, "Recursive": 13} {
			got := requireOutput(client.DescribeParameters(f.Context(), &ssm.DescribeParametersInput{
				ParameterFilters: []ssmtypes.ParameterStringFilter{
					{Key: aws.String("Path"), Option: &option, Values: []string{"/golden"}},
				},
			}))(f).Parameters
			if len(got) != want {
				f.Errorf("%s: %d", option, len(got))
			}
		}

		_, err := client.DescribeParameters(f.Context(), &ssm.DescribeParametersInput{
			ParameterFilters: []ssmtypes.ParameterStringFilter{{Key: aws.String("Shade"), Values: []string{"x"}}},
		})

		requireErrorCode(f, err, "InvalidFilterKey")
		both := requireOutput(client.GetParameters(f.Context(), &ssm.GetParametersInput{
			Names: []string{"/golden/01", "/unknown"},
		}))(f)
		if len(both.Parameters) != 1 || !slices.Equal(both.InvalidParameters, []string{"/unknown"}) {
			f.Errorf("%+v", both)
		}
	})
}

// TestPutParameter_anotherType covers rule B.6.1. Another type converts the parameter, and its older versions keep
// theirs. A world can refuse it instead.
func TestPutParameter_anotherType(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := f.ssm(owner)
		requireNoError(f.putParameter(client, "p", "one"))(f)
		requireNoError(f.putParameter(client, "p", "two", overwriting, securedBy("")))(f)
		requireNoError(f.putParameter(client, "p", "three", overwriting, func(in *ssm.PutParameterInput) { in.Type = "" }))(f)
		for name, want := range map[string]ssmtypes.ParameterType{
			"p":   ssmtypes.ParameterTypeSecureString,
			"p:2": ssmtypes.ParameterTypeSecureString,
			"p:1": ssmtypes.ParameterTypeString,
		} {
			got := requireOutput(client.GetParameter(f.Context(), &ssm.GetParameterInput{Name: &name}))(f).Parameter.Type
			expectEqual(f, "the type of "+name, got, want)
		}

		WithAlternatives(ParameterTypeRefused)(f.world)
		_, err := f.putParameter(client, "p", "four", overwriting, func(in *ssm.PutParameterInput) {
			in.Type = ssmtypes.ParameterTypeString
		})
		requireErrorCode(f, err, "HierarchyTypeMismatchException")
	})
}
