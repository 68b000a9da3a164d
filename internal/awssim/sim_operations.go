// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package awssim

import (
	"reflect"
	"strings"
)

// operation creates the input of an API operation and executes it.
type operation struct {
	new func() any
	do  func(w *World, c *Call, in any) (any, error)

	newOutput func() any
}

// operations maps services and operation names to operations. Each goes from the SDK's input to its output.
var operations = map[string]map[string]operation{
	"ec2":             operationsByName(ec2Operations),
	"ebs":             operationsByName(ebsOperations),
	"license-manager": operationsByName(licenseOperations),
	"kms":             operationsByName(kmsOperations),
	"sts":             operationsByName(stsOperations),
	"iam":             operationsByName(concat(iamOperations, iamListOperations)),
	"ssm":             operationsByName(ssmOperations),
	"organizations":   operationsByName(organizationsOperations),
}

type namedOperation struct {
	name string
	operation
}

// newOperation returns an operation that calls do. Its name is the name of the input without "Input".
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
	networkOperations, keyPairOperations, launchTemplateOperations, accountAttributeOperations,
)

func concat(lists ...[]namedOperation) (all []namedOperation) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}
