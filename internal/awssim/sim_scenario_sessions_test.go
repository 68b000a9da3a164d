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

// A pipeline goes through two roles to a target account, works there for an hour, and begins again where its session
// ended.
func TestScenario_pipelineRoles(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		const optIn = "eu-south-1"
		pipeline := f.user(owner, "pipeline", may(`"sts:AssumeRole"`))
		first := f.role(owner, "builder", trusting(rootOf(owner), `"sts:AssumeRole"`), may(`"sts:AssumeRole"`))
		second := f.role(
			member, "target",
			trusting(rootOf(owner), `"sts:AssumeRole"`, `"Condition":{"StringEquals":{"sts:ExternalId":"handed-over"}}`),
			may(`"*"`),
		)

		requireNoError(f.iam(member).UpdateRole(f.Context(), &iam.UpdateRoleInput{
			RoleName: aws.String("target"), MaxSessionDuration: aws.Int32(43200),
		}))(f)

		knowing := func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("handed-over") }

		_, err := f.assume(pipeline, first, lasting(4*time.Hour))
		// 5.1
		requireError(
			f, err, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
		)

		_, err = f.assume(pipeline, first, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("nightly build") })
		requireErrorCode(f, err, "ValidationError") // 5.5: no blanks
		builder := f.credentials(requireOutput(f.assume(pipeline, first))(f).Credentials)
		_, err = f.assume(builder, second)
		requireErrorCode(f, err, "AccessDenied") // 5.6: the external id is missing
		_, err = f.assume(builder, second, knowing, lasting(2*time.Hour))
		// 5.2
		requireError(
			f, err, "ValidationError",
			"The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
		)

		target := f.withConfig(f.credentials(requireOutput(f.assume(builder, second, knowing))(f).Credentials))
		work := func() error {
			_, err := target.ec2.DescribeImages(f.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
			return err
		}

		time.Sleep(59 * time.Minute)
		requireNoError(0, work())(f)
		time.Sleep(time.Minute)
		requireError(f, work(), "RequestExpired", "Request has expired.") // 5.4
		target = f.withConfig(f.credentials(requireOutput(f.assume(
			f.credentials(requireOutput(f.assume(pipeline, first))(f).Credentials), second, knowing,
		))(f).Credentials))

		requireNoError(0, work())(f)

		// A Region that the target has not opted in to (5.8).
		look := func(account string) error {
			_, err := f.at(account, optIn).DescribeImages(f.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
			return err
		}

		f.world.EnableRegion(owner, optIn)
		requireNoError(0, look(owner))(f)
		expectDenied(f, "a Region that is not enabled (5.8)", look(member))
	})
}

// A pipeline publishes the id of each new image as a parameter, which launches follow, and keeps a secret beside it.
func TestScenario_publishImage(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		client := f.ssm(owner)
		first, next := f.image(""), f.image("")
		_, err := f.put(client, "/golden/web", first, ofImage, securedBy(""))
		expectDenied(f, "an image as SecureString (7.1)", err)
		_, err = f.put(client, "golden/web", first, ofImage)
		expectDenied(f, "a path without a slash (7.7)", err)
		_, err = f.put(client, "/golden/web", strings.Repeat("x", 4097))
		expectDenied(f, "more than 4 KB (7.7)", err)

		requireNoError(f.put(client, "/golden/web", "ami-0123456789abcdef0", ofImage))(f)
		time.Sleep(5 * time.Minute)
		expectEqual(f, "an image that is not there (7.2)", f.value(client, "/golden/web"), "")
		requireNoError(f.put(client, "/golden/web", first, ofImage))(f)
		time.Sleep(5 * time.Minute)
		expectEqual(f, "the published image (7.2)", f.value(client, "/golden/web"), first)
		_, err = f.put(client, "/golden/web", next, ofImage)
		requireErrorCode(f, err, "ParameterAlreadyExists") // 7.8
		_, err = f.put(client, "/golden/web", next, overwriting, func(in *ssm.PutParameterInput) {
			in.DataType = aws.String("text")
		})

		expectDenied(f, "another data type (7.4)", err)
		requireNoError(f.put(client, "/golden/web", next, ofImage, overwriting))(f)
		time.Sleep(5 * time.Minute)
		expectEqual(f, "the published image then", f.value(client, "/golden/web"), next)

		limited := func(name string, statements ...string) fixture {
			return f.withConfig(f.session(f.role(owner, name, trusting(rootOf(owner), `"sts:*"`), statements...)))
		}

		expectEqual(f, "a launch by the parameter (7.11)", *f.launched("resolve:ssm:/golden/web").ImageId, next)
		_, err = limited("launcher", may(`"ec2:*"`)).ec2.RunInstances(
			f.Context(), oneOf("resolve:ssm:/golden/web"), noRetries,
		)

		expectDenied(f, "a launch without the right to the parameter (7.11)", err)
		reader := f.session(f.role(owner, "reader", trusting(rootOf(owner), `"sts:*"`), may(`"ssm:GetParameter"`)))
		writer := f.session(f.role(owner, "writer", trusting(rootOf(owner), `"sts:*"`), may(`"ssm:*"`)))
		_, err = f.put(ssm.NewFromConfig(reader, singlySSM), "/golden/other", first)
		requireErrorCode(f, err, "AccessDeniedException") // 7.6

		key := f.key()
		_, err = f.put(ssm.NewFromConfig(writer, singlySSM), "/golden/secret", "text", securedBy(key))
		expectDenied(f, "a secret without kms:Encrypt (7.9)", err)
		requireNoError(f.put(client, "/golden/secret", "text", securedBy(key)))(f)
		read := func(opened bool) (*ssm.GetParameterOutput, error) {
			return ssm.NewFromConfig(reader, singlySSM).GetParameter(f.Context(), &ssm.GetParameterInput{
				Name: aws.String("/golden/secret"), WithDecryption: &opened,
			})
		}

		_, err = read(true)
		// 7.10
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

// Auto Scaling launches what was copied: its service-linked role takes its right from the key, since nobody can give
// the role one (8.1).
func TestScenario_autoScaling(t *testing.T) {
	runWithFixture(t, func(f fixture) {
		role, service := f.autoScaling(owner)
		key := f.key()
		image := f.image("", func(in *ec2.RegisterImageInput) { in.Name = aws.String("built") })
		copied := f.imageCopied(image, imageUnder(key))
		expectEqual(f, "an instance at first (8.1, 8.6)", f.ends(service, copied), types.InstanceStateNameTerminated)
		_, err := f.iam(owner).PutRolePolicy(f.Context(), &iam.PutRolePolicyInput{
			RoleName: aws.String(role[strings.LastIndex(role, "/")+1:]), PolicyName: aws.String("own"),
			PolicyDocument: policyOf(may(`"kms:*"`)),
		})

		expectDenied(f, "a policy of the service-linked role (8.1)", err)
		named := func(statement string) string { return strings.ReplaceAll(statement, "WHO", role) }
		f.setPolicy(key, named(usesKey), named(makesGrant))
		expectEqual(f, "an instance with the key's policy (8.2)", f.ends(service, copied), types.InstanceStateNameRunning)
	})
}
