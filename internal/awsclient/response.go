// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awsclient

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var (
	errNoBody = errors.New("the response has no body")
	errNoID   = errors.New("the response has no id of what was created")
)

// requireResponse makes a success without a body, or without the id of what was created, an incomplete response. The
// SDK would return an output without members: a resource would be lost, or would seem not to exist.
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

// hasBody reports whether AWS answers an operation with a body. Services that speak JSON leave it out where there is
// nothing to say.
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
	if err == nil && isWithoutID(out.Result) {
		err = &smithy.DeserializationError{Err: errNoID}
	}
	return out, metadata, err
}

// isWithoutID reports whether the output of a creating call lacks the id of what was created.
func isWithoutID(output any) bool {
	var id *string
	switch out := output.(type) {
	case *ec2.CopySnapshotOutput:
		id = out.SnapshotId
	case *ec2.CreateSnapshotOutput:
		id = out.SnapshotId
	case *ec2.CreateVolumeOutput:
		id = out.VolumeId
	case *ec2.CopyImageOutput:
		id = out.ImageId
	case *ec2.RegisterImageOutput:
		id = out.ImageId
	case *ec2.RunInstancesOutput:
		if len(out.Instances) > 0 {
			id = out.Instances[0].InstanceId
		}
	case *ec2.CreateLaunchTemplateVersionOutput:
		return out.LaunchTemplateVersion == nil || out.LaunchTemplateVersion.VersionNumber == nil
	case *kms.CreateGrantOutput:
		id = out.GrantId
	default:
		return false
	}
	return id == nil || *id == ""
}
