// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var (
	errNoBody = errors.New("the response has no body")
	errNoID   = errors.New("the response has no id of what was created")
	errNoPart = errors.New("the response lacks what identifies its entries")
)

// requireResponse returns an error for a successful response that lacks its body or the ID of the created resource.
// Without the error, the SDK would return an empty output: the created resource would be lost, or an existing one would
// seem missing.
func requireResponse(stack *middleware.Stack) error {
	body := middleware.DeserializeMiddlewareFunc("encrypted-ami:body", requireBody)
	id := middleware.DeserializeMiddlewareFunc("encrypted-ami:id", requireID)
	const deserializer = "OperationDeserializer"
	if _, found := stack.Deserialize.Get(deserializer); !found {
		return nil
	}
	if err := stack.Deserialize.Insert(body, deserializer, middleware.After); err != nil {
		return err
	}
	return stack.Deserialize.Insert(id, deserializer, middleware.Before)
}

func requireBody(
	ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (out middleware.DeserializeOutput, metadata middleware.Metadata, err error) {
	out, metadata, err = next.HandleDeserialize(ctx, in)
	response, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || response.StatusCode != http.StatusOK || !hasBody(ctx) {
		return out, metadata, err
	}

	buffered := bufio.NewReader(response.Body)
	if _, err := buffered.Peek(1); errors.Is(err, io.EOF) {
		return out, metadata, &smithy.DeserializationError{Err: errNoBody}
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{buffered, response.Body}
	return out, metadata, nil
}

// hasBody reports whether AWS returns a body for an operation. JSON services omit an empty one.
func hasBody(ctx context.Context) bool {
	operation := awsmiddleware.GetOperationName(ctx)
	switch awsmiddleware.GetServiceID(ctx) {
	case ec2.ServiceID, "STS":
		return true
	}
	return isRead(operation) || operation == "CreateGrant" || operation == "PutParameter"
}

func requireID(
	ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (out middleware.DeserializeOutput, metadata middleware.Metadata, err error) {
	out, metadata, err = next.HandleDeserialize(ctx, in)
	switch {
	case err != nil:
	case isWithoutID(out.Result):
		err = &smithy.DeserializationError{Err: errNoID}
	case isWithoutPart(out.Result):
		err = &smithy.DeserializationError{Err: errNoPart}
	}
	return out, metadata, err
}

// isWithoutPart reports whether an entry of a list lacks its ID or its state. Such an entry would be mistaken for a
// deleted resource.
func isWithoutPart(output any) bool {
	isMissing := func(id *string) bool { return id == nil || *id == "" }
	switch out := output.(type) {
	case *ec2.DescribeImagesOutput:
		return slices.ContainsFunc(out.Images, func(i ec2types.Image) bool { return isMissing(i.ImageId) })
	case *ec2.DescribeSnapshotsOutput:
		return slices.ContainsFunc(out.Snapshots, func(s ec2types.Snapshot) bool { return isMissing(s.SnapshotId) })
	case *ec2.DescribeInstancesOutput:
		return slices.ContainsFunc(out.Reservations, func(r ec2types.Reservation) bool {
			return slices.ContainsFunc(r.Instances, func(i ec2types.Instance) bool {
				return isMissing(i.InstanceId) || i.State == nil
			})
		})
	case *kms.ListGrantsOutput:
		return slices.ContainsFunc(out.Grants, func(g kmstypes.GrantListEntry) bool { return isMissing(g.GrantId) })
	case *ssm.GetParameterOutput:
		return out.Parameter == nil
	}
	return false
}

// isWithoutID reports whether the output of a creating call lacks the ID of the created resource.
func isWithoutID(output any) bool {
	if out, ok := output.(*ec2.CreateLaunchTemplateVersionOutput); ok {
		return out.LaunchTemplateVersion == nil || out.LaunchTemplateVersion.VersionNumber == nil
	}
	id, isCreating := createdID(output)
	return isCreating && id == ""
}

// CreatedID returns the ID of the resource that a call created. Empty if the call creates nothing.
func CreatedID(output any) string {
	id, _ := createdID(output)
	return id
}

func createdID(output any) (id string, isCreating bool) {
	switch out := output.(type) {
	case *ec2.CopySnapshotOutput:
		return aws.ToString(out.SnapshotId), true
	case *ec2.CreateSnapshotOutput:
		return aws.ToString(out.SnapshotId), true
	case *ec2.CreateVolumeOutput:
		return aws.ToString(out.VolumeId), true
	case *ec2.CopyImageOutput:
		return aws.ToString(out.ImageId), true
	case *ec2.RegisterImageOutput:
		return aws.ToString(out.ImageId), true
	case *ec2.RunInstancesOutput:
		if len(out.Instances) == 0 {
			return "", true
		}
		return aws.ToString(out.Instances[0].InstanceId), true
	case *kms.CreateGrantOutput:
		return aws.ToString(out.GrantId), true
	}
	return "", false
}
