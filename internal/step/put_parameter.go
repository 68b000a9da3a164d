// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package step

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/awsclient"
	"github.com/encrypted-ami/packer-plugin-encrypted-ami/internal/distribution"
)

// PutParameter writes an image ID to an SSM parameter and reads it back. AWS validates the image only after its
// response, and then writes nothing if the caller cannot see the image (rule 7.2).
type PutParameter struct {
	Base
	Name        string
	Type        string // "String" or "SecureString"
	DataType    string // "aws:ec2:image" or "text"
	KeyID       string // of a SecureString, as ARN or as in the template. Empty for alias/aws/ssm
	Tier        string // empty for the account's default
	Description string
	Tags        map[string]string
	Overwrite   bool
	Image       Ref
	Release     time.Time // release of the image
	AnyRelease  bool      // replace an image of a newer release
	Replaces    []string  // images of which it must still name one; empty for any
}

// ParameterPointer is the value of Pointer.Kind for an SSM parameter.
const ParameterPointer = "SSM parameter"

// Permissions depend on the data type. AWS reads the image only for aws:ec2:image (rules 7.6 and 7.9).
func (s *PutParameter) Permissions() []Permission {
	parameter := s.Location.ParameterARN(s.Name)
	needed := []Permission{
		{"ssm:PutParameter", parameter, "7.6"},
		{"ssm:GetParameter", parameter, "7.6"},
		{"ec2:DescribeImages", "*", "7.6"},
	}

	if len(s.Tags) > 0 {
		needed = append(needed, Permission{"ssm:AddTagsToResource", parameter, "7.6"})
	}

	if s.Type == distribution.SecureString {
		action := "kms:Encrypt"
		if s.Tier == "Advanced" {
			action = "kms:GenerateDataKey"
		}
		needed = append(needed, Permission{action, cmp.Or(s.KeyID, "alias/aws/ssm"), "7.9"})
	}

	return needed
}

func (s *PutParameter) ResourceID() string { return s.Name }

func (s *PutParameter) String() string {
	return fmt.Sprintf("let the SSM parameter %s in %s name the image", s.Name, s.Location)
}

func (s *PutParameter) Doing(w Words) string {
	return fmt.Sprintf("Updating SSM parameter %s in %s", s.Name, w.Location(s.Location))
}

func (s *PutParameter) Summary() Summary { return publicationSummary() }

func (s *PutParameter) Role() Role { return Publishes }

func (s *PutParameter) Pointer() (distribution.Pointer, bool) {
	return distribution.Pointer{Kind: ParameterPointer, Name: s.Name}, true
}

var _ = register(&PutParameter{}, operation{
	start: func(s Step, env Env) Attempt { return s.(*PutParameter).start(env) },
})

func (s *PutParameter) start(env Env) Attempt {
	imageID := env.ID(s.Image)
	client := env.Clients.SSM(s.Location)
	return &putParameter{
		step:     s,
		putCall:  client.PutParameter,
		getCall:  client.GetParameter,
		tagCall:  client.AddTagsToResource,
		imageID:  imageID,
		unsigned: env.Outcomes.Of(s.Image.From).Unsigned,
		image:    imageCheck{client: env.Clients.EC2(s.Location), imageID: imageID},
		releases: releaseCheck{
			at:        s.Location,
			release:   s.Release,
			isOff:     s.AnyRelease,
			releaseOf: env.releaseOf,
		},
	}
}

// ssmCall is one operation of a client. An attempt that held the client would link all its operations into the
// plugin.
type ssmCall[In, Out any] func(context.Context, In, ...func(*ssm.Options)) (Out, error)

type putParameter struct {
	step     *PutParameter
	putCall  ssmCall[*ssm.PutParameterInput, *ssm.PutParameterOutput]
	getCall  ssmCall[*ssm.GetParameterInput, *ssm.GetParameterOutput]
	tagCall  ssmCall[*ssm.AddTagsToResourceInput, *ssm.AddTagsToResourceOutput]
	imageID  string
	unsigned bool
	image    imageCheck
	releases releaseCheck
	notes    []distribution.Finding // why the parameter keeps its value. Empty if it was written
	written  string                 // "name:version". Empty until it is written
	version  int64                  // that the first call created, without being asked to overwrite. 0 after an overwrite
	wait     consistencyWait
}

// Do writes the parameter and polls for that version.
func (a *putParameter) Do(ctx context.Context) (Outcome, error) {
	if a.unsigned {
		return Outcome{}, ErrUnsigned
	}

	if a.written == "" {
		if err := a.write(ctx); err != nil || len(a.notes) > 0 {
			return Outcome{Notes: a.notes}, err
		}
	}

	outcome := Outcome{ID: a.written}
	shown, err := a.get(ctx, a.written, false)
	switch {
	case awsclient.IsNotFound(err): // AWS shows it late or never (rules 7.2 and 7.3)
		return outcome, a.wait.retry(err)
	case err != nil:
		return outcome, err
	case a.step.Type != distribution.SecureString && aws.ToString(shown.Value) != a.imageID:
		value := aws.ToString(shown.Value)
		return outcome, fmt.Errorf("%s names %q: somebody else writes the parameter", a.written, value)
	}

	outcome.Notes, err = a.restoreNewer(ctx)
	return outcome, err
}

// restoreNewer writes the earlier version again if another run created it at the same time for a newer release. That
// can happen because AWS checks the image after its response (rule 7.2). Until then, two runs can create the parameter.
func (a *putParameter) restoreNewer(ctx context.Context) ([]distribution.Finding, error) {
	if a.version < 2 {
		return nil, nil
	}

	earlier, err := a.get(ctx, a.step.Name+":"+strconv.FormatInt(a.version-1, 10), false)
	switch {
	case awsclient.IsNotFound(err): // AWS may show an earlier version later (rule 7.3)
		return nil, a.wait.retry(err)
	case err != nil:
		return nil, err
	}

	notes, err := a.releases.note(ctx, a.step.Name, aws.ToString(earlier.Value))
	if err != nil || len(notes) == 0 {
		return nil, err
	}

	in := a.step.input(aws.ToString(earlier.Value))
	in.Tags, in.Overwrite = nil, aws.Bool(true)
	_, err = a.putCall(ctx, in)
	return notes, err
}

func (a *putParameter) write(ctx context.Context) error {
	if a.step.DataType != distribution.ImageParameter { // rule 7.2: AWS checks only its own data type
		if err := a.image.requireAvailable(ctx); err != nil {
			return err
		}
	}
	version, err := a.put(ctx)
	if err != nil || len(a.notes) > 0 {
		return err
	}
	a.written = a.step.Name + ":" + strconv.FormatInt(version, 10)
	return nil
}

// put writes the parameter and returns its version. Tags are allowed only for a new parameter (rule 7.8).
func (a *putParameter) put(ctx context.Context) (int64, error) {
	in := a.step.input(a.imageID)
	out, err := a.putCall(ctx, in)
	if err == nil {
		a.version = out.Version
		return out.Version, nil
	}

	if awsclient.Code(err) != "ParameterAlreadyExists" { // rule 7.8
		return 0, err
	}

	// The response of an earlier call may be lost. Then the parameter is not written again.
	shown, lookupErr := a.existing(ctx)
	value := ""
	if shown != nil {
		value = aws.ToString(shown.Value)
	}

	switch {
	case lookupErr != nil:
		return 0, lookupErr
	case string(shown.Type) != a.step.Type:
		return 0, a.conversionError(shown.Type)
	case value == a.imageID:
		return shown.Version, nil
	case !a.step.Overwrite:
		return 0, err
	case !isReplaceable(a.step.Replaces, value):
		return 0, movedError(a.step.Name, value)
	}

	if a.notes, err = a.releases.note(ctx, a.step.Name, value); err != nil || len(a.notes) > 0 {
		return 0, err
	}

	return a.overwrite(ctx, in)
}

// existing returns the parameter, without its value if the caller may not decrypt it. It retries while AWS does not
// show it (rule 7.2).
func (a *putParameter) existing(ctx context.Context) (*ssmtypes.Parameter, error) {
	shown, err := a.get(ctx, a.step.Name, true)
	if a.step.Type == distribution.SecureString && err != nil && !awsclient.IsNotFound(err) {
		return a.get(ctx, a.step.Name, false)
	}

	switch {
	case awsclient.IsNotFound(err):
		return nil, a.wait.retry(err)
	case err != nil:
		return nil, err
	case aws.ToString(shown.Value) == "":
		return nil, a.wait.retry(fmt.Errorf("AWS shows parameter %s without a value", a.step.Name))
	}

	return shown, nil
}

// conversionError returns an error if AWS would convert the parameter to another type (rule B.6.1). Its readers
// might lack the permission to decrypt it, or its value would no longer be encrypted.
func (a *putParameter) conversionError(is ssmtypes.ParameterType) error {
	return fmt.Errorf(
		"parameter %s has type %s, and writing it would convert it to %s: delete the parameter, or set type = %q",
		a.step.Name,
		is,
		a.step.Type,
		is,
	)
}

func (a *putParameter) overwrite(ctx context.Context, in *ssm.PutParameterInput) (int64, error) {
	if len(in.Tags) > 0 {
		_, err := a.tagCall(ctx, &ssm.AddTagsToResourceInput{
			ResourceType: ssmtypes.ResourceTypeForTaggingParameter,
			ResourceId:   aws.String(a.step.Name),
			Tags:         in.Tags,
		})
		if err != nil {
			return 0, err
		}
	}

	in.Tags, in.Overwrite = nil, aws.Bool(true)
	out, err := a.putCall(ctx, in)
	if err != nil {
		return 0, err
	}

	return out.Version, nil
}

func (s *PutParameter) input(imageID string) *ssm.PutParameterInput {
	in := &ssm.PutParameterInput{
		Name:     aws.String(s.Name),
		Value:    aws.String(imageID),
		Type:     ssmtypes.ParameterType(s.Type),
		DataType: aws.String(s.DataType),
		Tier:     ssmtypes.ParameterTier(s.Tier),
	}

	if s.Description != "" {
		in.Description = aws.String(s.Description)
	}

	if s.KeyID != "" {
		in.KeyId = aws.String(s.KeyID)
	}

	for _, key := range slices.Sorted(maps.Keys(s.Tags)) {
		in.Tags = append(in.Tags, ssmtypes.Tag{Key: aws.String(key), Value: aws.String(s.Tags[key])})
	}

	return in
}

// get reads a parameter, or one version of it by "name:version".
func (a *putParameter) get(ctx context.Context, name string, decrypt bool) (*ssmtypes.Parameter, error) {
	out, err := a.getCall(ctx, &ssm.GetParameterInput{
		Name:           aws.String(name),
		WithDecryption: aws.Bool(decrypt),
	})
	if err != nil {
		return nil, err
	}
	return out.Parameter, nil
}
