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

// A pipeline goes through two roles to a target account, works there for an hour, and begins again where its session ended.
func TestScenario_pipelineRoles(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		const optIn = "eu-south-1"
		pipeline := b.user(owner, "pipeline", may(`"sts:AssumeRole"`))
		first := b.role(owner, "builder", trusting(rootOf(owner), `"sts:AssumeRole"`), may(`"sts:AssumeRole"`))
		second := b.role(member, "target", trusting(rootOf(owner), `"sts:AssumeRole"`, `"Condition":{"StringEquals":{"sts:ExternalId":"handed-over"}}`), may(`"*"`))
		must(b.iam(member).UpdateRole(b.Context(), &iam.UpdateRoleInput{RoleName: aws.String("target"), MaxSessionDuration: aws.Int32(43200)}))(b)
		knowing := func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("handed-over") }

		_, err := b.assume(pipeline, first, lasting(4*time.Hour))
		requireError(b, err, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.") // 5.1
		_, err = b.assume(pipeline, first, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("nightly build") })
		requireErrorCode(b, err, "ValidationError") // 5.5: no blanks
		builder := b.credentials(ok(b.assume(pipeline, first))(b).Credentials)
		_, err = b.assume(builder, second)
		requireErrorCode(b, err, "AccessDenied") // 5.6: the external id is missing
		_, err = b.assume(builder, second, knowing, lasting(2*time.Hour))
		requireError(b, err, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.") // 5.2
		target := b.withConfig(b.credentials(ok(b.assume(builder, second, knowing))(b).Credentials))
		work := func() error {
			_, err := target.ec2.DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
			return err
		}
		time.Sleep(59 * time.Minute)
		must(0, work())(b)
		time.Sleep(time.Minute)
		requireError(b, work(), "RequestExpired", "Request has expired.") // 5.4
		target = b.withConfig(b.credentials(ok(b.assume(b.credentials(ok(b.assume(pipeline, first))(b).Credentials), second, knowing))(b).Credentials))
		must(0, work())(b)

		// A Region that the target has not opted in to (5.8).
		look := func(account string) error {
			_, err := b.at(account, optIn).DescribeImages(b.Context(), &ec2.DescribeImagesInput{Owners: []string{"self"}})
			return err
		}
		b.world.EnableRegion(owner, optIn)
		must(0, look(owner))(b)
		denied(b, "a Region that is not enabled (5.8)", look(member))
	})
}

// A pipeline publishes the id of each new image as a parameter, which launches follow, and keeps a secret beside it.
func TestScenario_publishImage(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		client := b.ssm(owner)
		first, next := b.image(""), b.image("")
		_, err := b.put(client, "/golden/web", first, ofImage, securedBy(""))
		denied(b, "an image as SecureString (7.1)", err)
		_, err = b.put(client, "golden/web", first, ofImage)
		denied(b, "a path without a slash (7.7)", err)
		_, err = b.put(client, "/golden/web", strings.Repeat("x", 4097))
		denied(b, "more than 4 KB (7.7)", err)

		must(b.put(client, "/golden/web", "ami-0123456789abcdef0", ofImage))(b)
		time.Sleep(5 * time.Minute)
		is(b, "an image that is not there (7.2)", b.value(client, "/golden/web"), "")
		must(b.put(client, "/golden/web", first, ofImage))(b)
		time.Sleep(5 * time.Minute)
		is(b, "the published image (7.2)", b.value(client, "/golden/web"), first)
		_, err = b.put(client, "/golden/web", next, ofImage)
		requireErrorCode(b, err, "ParameterAlreadyExists") // 7.8
		_, err = b.put(client, "/golden/web", next, overwriting, func(in *ssm.PutParameterInput) { in.DataType = aws.String("text") })
		denied(b, "another data type (7.4)", err)
		must(b.put(client, "/golden/web", next, ofImage, overwriting))(b)
		time.Sleep(5 * time.Minute)
		is(b, "the published image then", b.value(client, "/golden/web"), next)

		limited := func(name string, statements ...string) fixture {
			return b.withConfig(b.session(b.role(owner, name, trusting(rootOf(owner), `"sts:*"`), statements...)))
		}
		is(b, "a launch by the parameter (7.11)", *b.launched("resolve:ssm:/golden/web").ImageId, next)
		_, err = limited("launcher", may(`"ec2:*"`)).ec2.RunInstances(b.Context(), oneOf("resolve:ssm:/golden/web"), noRetries)
		denied(b, "a launch without the right to the parameter (7.11)", err)
		reader, writer := b.session(b.role(owner, "reader", trusting(rootOf(owner), `"sts:*"`), may(`"ssm:GetParameter"`))), b.session(b.role(owner, "writer", trusting(rootOf(owner), `"sts:*"`), may(`"ssm:*"`)))
		_, err = b.put(ssm.NewFromConfig(reader, singlySSM), "/golden/other", first)
		requireErrorCode(b, err, "AccessDeniedException") // 7.6

		key := b.key()
		_, err = b.put(ssm.NewFromConfig(writer, singlySSM), "/golden/secret", "text", securedBy(key))
		denied(b, "a secret without kms:Encrypt (7.9)", err)
		must(b.put(client, "/golden/secret", "text", securedBy(key)))(b)
		read := func(opened bool) (*ssm.GetParameterOutput, error) {
			return ssm.NewFromConfig(reader, singlySSM).GetParameter(b.Context(), &ssm.GetParameterInput{Name: aws.String("/golden/secret"), WithDecryption: &opened})
		}
		_, err = read(true)
		requireError(b, err, "AccessDeniedException", "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.") // 7.10
		is(b, "the type of what is not opened (7.9)", ok(read(false))(b).Parameter.Type, ssmtypes.ParameterTypeSecureString)
	})
}

// Auto Scaling launches what was copied: its service-linked role takes its right from the key, since nobody can give the role one (8.1).
func TestScenario_autoScaling(t *testing.T) {
	runWithFixture(t, func(b fixture) {
		role, service := b.autoScaling(owner)
		key := b.key()
		image := b.image("", func(in *ec2.RegisterImageInput) { in.Name = aws.String("built") })
		copied := b.imageCopied(image, imageUnder(key))
		is(b, "an instance at first (8.1, 8.6)", b.ends(service, copied), types.InstanceStateNameTerminated)
		_, err := b.iam(owner).PutRolePolicy(b.Context(), &iam.PutRolePolicyInput{RoleName: aws.String(role[strings.LastIndex(role, "/")+1:]), PolicyName: aws.String("own"), PolicyDocument: policyOf(may(`"kms:*"`))})
		denied(b, "a policy of the service-linked role (8.1)", err)
		named := func(statement string) string { return strings.ReplaceAll(statement, "WHO", role) }
		b.setPolicy(key, named(usesKey), named(makesGrant))
		is(b, "an instance with the key's policy (8.2)", b.ends(service, copied), types.InstanceStateNameRunning)
	})
}
