// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// TestScenario_pipelineRoles assumes two roles in a chain, works in a target account for an hour, and starts again
// after its session expired.
func TestScenario_pipelineRoles(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		const optIn = "eu-south-1"
		pipeline := f.createUser(owner, "pipeline", allowStatement(`"sts:AssumeRole"`))
		first := f.createRole(
			owner, "builder", trustStatement(rootOf(owner), `"sts:AssumeRole"`), allowStatement(`"sts:AssumeRole"`),
		)

		second := f.createRole(
			member, "target",
			trustStatement(rootOf(owner), `"sts:AssumeRole"`, `"Condition":{"StringEquals":{"sts:ExternalId":"golden"}}`),
			allowStatement(`"*"`),
		)

		requireNoError(f.iam(member).UpdateRole(f.Context(), &iam.UpdateRoleInput{
			RoleName: aws.String("target"), MaxSessionDuration: aws.Int32(43200),
		}))(f)

		knowing := func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("golden") }

		_, err := f.assumeRole(pipeline, first, lasting(4*time.Hour))
		// rule 5.1: longer than the role's maximum duration
		requireError(
			f, err, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
		)

		_, err = f.assumeRole(pipeline, first, func(in *sts.AssumeRoleInput) {
			in.RoleSessionName = aws.String("nightly build")
		})

		requireErrorCode(f, err, "ValidationError") // rule 5.5: no spaces
		builder := f.credentials(requireOutput(f.assumeRole(pipeline, first))(f).Credentials)
		_, err = f.assumeRole(builder, second)
		requireErrorCode(f, err, "AccessDenied") // rule 5.6: the external ID is missing
		_, err = f.assumeRole(builder, second, knowing, lasting(2*time.Hour))
		// rule 5.2: longer than an hour in a role chain
		requireError(
			f, err, "ValidationError",
			"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
		)

		target := f.withConfig(f.credentials(requireOutput(f.assumeRole(builder, second, knowing))(f).Credentials))
		work := func() error {
			_, err := target.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
			return err
		}

		time.Sleep(59 * time.Minute)
		requireNoError(0, work())(f)
		time.Sleep(time.Minute)
		requireError(f, work(), "RequestExpired", "Request has expired.") // 5.4
		target = f.withConfig(f.credentials(requireOutput(f.assumeRole(
			f.credentials(requireOutput(f.assumeRole(pipeline, first))(f).Credentials), second, knowing,
		))(f).Credentials))

		requireNoError(0, work())(f)

		// A Region that the target account has not enabled (rule 5.8).
		look := func(account string) error {
			_, err := f.ec2At(account, optIn).DescribeImages(f.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
			return err
		}

		f.world.EnableRegion(owner, optIn)
		requireNoError(0, look(owner))(f)
		expectDenied(f, "a Region that is not enabled (5.8)", look(member))
	})
}

// TestScenario_publishImage publishes image IDs as a parameter that launches resolve, and stores a secret.
func TestScenario_publishImage(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := f.ssm(owner)
		first, next := f.createImage(""), f.createImage("")
		_, err := f.putParameter(client, "/golden/web", first, ofImage, securedBy(""))
		expectDenied(f, "an image as SecureString (7.1)", err)
		_, err = f.putParameter(client, "golden/web", first, ofImage)
		expectDenied(f, "a path without a slash (7.7)", err)
		_, err = f.putParameter(client, "/golden/web", strings.Repeat("x", 4097))
		expectDenied(f, "more than 4 KB (7.7)", err)

		requireNoError(f.putParameter(client, "/golden/web", "ami-0123456789abcdef0", ofImage))(f)
		time.Sleep(5 * time.Minute)
		expectEqual(f, "an image that is not there (7.2)", f.parameterValue(client, "/golden/web"), "")
		requireNoError(f.putParameter(client, "/golden/web", first, ofImage))(f)
		time.Sleep(5 * time.Minute)
		expectEqual(f, "the published image (7.2)", f.parameterValue(client, "/golden/web"), first)
		_, err = f.putParameter(client, "/golden/web", next, ofImage)
		requireErrorCode(f, err, "ParameterAlreadyExists") // 7.8
		_, err = f.putParameter(client, "/golden/web", next, overwriting, func(in *ssm.PutParameterInput) {
			in.DataType = aws.String("text")
		})

		expectDenied(f, "another data type (7.4)", err)
		requireNoError(f.putParameter(client, "/golden/web", next, ofImage, overwriting))(f)
		time.Sleep(5 * time.Minute)
		expectEqual(f, "the published image then", f.parameterValue(client, "/golden/web"), next)

		limited := func(name string, statements ...string) fixture {
			return f.withConfig(f.sessionCredentials(f.createRole(
				owner, name, trustStatement(rootOf(owner), `"sts:*"`), statements...,
			)))
		}

		expectEqual(f, "a launch by the parameter (7.11)", *f.launchAndWait("resolve:ssm:/golden/web").ImageId, next)
		_, err = limited("launcher", allowStatement(`"ec2:*"`)).ec2.RunInstances(
			f.Context(), oneInstance("resolve:ssm:/golden/web"), withoutEC2Retries,
		)

		expectDenied(f, "a launch without permission to read the parameter (7.11)", err)
		reader := f.sessionCredentials(f.createRole(
			owner, "reader", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ssm:GetParameter"`),
		))

		writer := f.sessionCredentials(f.createRole(
			owner, "writer", trustStatement(rootOf(owner), `"sts:*"`), allowStatement(`"ssm:*"`),
		))

		_, err = f.putParameter(ssm.NewFromConfig(reader, withoutSSMRetries), "/golden/other", first)
		requireErrorCode(f, err, "AccessDeniedException") // 7.6

		key := f.createKey()
		_, err = f.putParameter(ssm.NewFromConfig(writer, withoutSSMRetries), "/golden/secret", "text", securedBy(key))
		expectDenied(f, "a secret without kms:Encrypt (7.9)", err)
		requireNoError(f.putParameter(client, "/golden/secret", "text", securedBy(key)))(f)
		read := func(opened bool) (*ssm.GetParameterOutput, error) {
			return ssm.NewFromConfig(reader, withoutSSMRetries).GetParameter(f.Context(), &ssm.GetParameterInput{
				Name: aws.String("/golden/secret"), WithDecryption: &opened,
			})
		}

		_, err = read(true)
		// rule 7.10: Parameter Store passes on errors of KMS
		requireError(
			f, err, "AccessDeniedException",
			"The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are "+
				"not allowed to access.",
		)

		expectEqual(
			f, "the type of what is not opened (7.9)", requireOutput(read(false))(f).Parameter.Type,
			ssmtypes.ParameterTypeSecureString,
		)
	})
}

// TestScenario_autoScaling launches a copied image with Auto Scaling. The service-linked role gets its permission from
// the key, because no policy can be attached to the role (rule 8.1).
func TestScenario_autoScaling(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role, service := f.assumeAutoScalingRole(owner)
		key := f.createKey()
		image := f.createImage("", func(in *ec2.RegisterImageInput) { in.Name = aws.String("built") })
		copied := f.copyImageAndWait(image, imageUnder(key))
		expectEqual(f, "an instance at first (8.1, 8.6)", f.launchedState(service, copied), types.InstanceStateNameTerminated)
		_, err := f.iam(owner).PutRolePolicy(f.Context(), &iam.PutRolePolicyInput{
			RoleName: aws.String(role[strings.LastIndex(role, "/")+1:]), PolicyName: aws.String("own"),
			PolicyDocument: newPolicy(allowStatement(`"kms:*"`)),
		})

		expectDenied(f, "a policy of the service-linked role (8.1)", err)
		named := func(statement string) string { return strings.ReplaceAll(statement, "WHO", role) }
		f.setKeyPolicy(key, named(usesKey), named(makesGrant))
		expectEqual(
			f, "an instance with the key's policy (8.2)", f.launchedState(service, copied), types.InstanceStateNameRunning,
		)
	})
}
