// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"reflect"
	"strings"
)

// operation is how a call of one kind is made and done.
type operation struct {
	new func() any
	do  func(w *World, c *Call, in any) (any, error)

	newOutput func() any
}

// operations is what the world knows: service -> operation. Each function goes from the SDK's own input to its own
// output.
var operations = map[string]map[string]operation{
	"ec2":             operationsByName(ec2Operations),
	"ebs":             operationsByName(ebsOperations),
	"license-manager": operationsByName(licenseOperations),
	"kms":             operationsByName(kmsOperations),
	"sts":             operationsByName(stsOperations),
	"iam":             operationsByName(iamOperations),
	"ssm":             operationsByName(ssmOperations),
	"organizations":   operationsByName(organizationsOperations),
}

type namedOperation struct {
	name string
	operation
}

// newOperation makes an operation of a function; its name is the input's without "Input".
func newOperation[In, Out any](do func(*World, *Call, *In) (*Out, error)) namedOperation {
	return namedOperation{
		name: strings.TrimSuffix(reflect.TypeFor[In]().Name(), "Input"),
		operation: operation{
			new: func() any { return new(In) },
			do:  func(w *World, c *Call, in any) (any, error) { return do(w, c, in.(*In)) },

			newOutput: func() any { return new(Out) },
		},
	}
}

func operationsByName(list []namedOperation) map[string]operation {
	created := make(map[string]operation, len(list))
	for _, n := range list {
		created[n.name] = n.operation
	}
	return created
}

var ec2Operations = concat(
	snapshotOperations, imageOperations, volumeOperations, settingOperations, tagOperations, instanceOperations,
	networkOperations, keyPairOperations, launchTemplateOperations,
)

func concat(lists ...[]namedOperation) (all []namedOperation) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}
