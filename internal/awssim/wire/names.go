// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	_ "embed"
	"reflect"
	"strings"
	"sync"
)

// api is what tells one service's protocol from another's.
type api struct {
	ec2, json bool   // the protocol; none of the three is query
	rest      bool   // REST-JSON
	version   string // the parameter Version
	namespace string // of the answers in XML
	target    string // what X-Amz-Target begins with
	names     func() names
}

var apis = map[string]api{
	"ec2": {
		ec2:       true,
		version:   "2016-11-15",
		namespace: "http://ec2.amazonaws.com/doc/2016-11-15/",
		names:     table(&ec2Names, lowerFirst, "item"),
	},
	"sts": {
		version: "2011-06-15", namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
		names: table(&stsNames, sameName, "member"),
	},
	"iam": {
		version: "2010-05-08", namespace: "https://iam.amazonaws.com/doc/2010-05-08/",
		names: table(&iamNames, sameName, "member"),
	},
	"ebs":             {rest: true},
	"kms":             {json: true, target: "TrentService"},
	"ssm":             {json: true, target: "AmazonSSM"},
	"organizations":   {json: true, target: "AWSOrganizationsV20161128"},
	"license-manager": {json: true, target: "AWSLicenseManager"},
}

var (
	//go:embed ec2.names
	ec2Names string
	//go:embed sts.names
	stsNames string
	//go:embed iam.names
	iamNames string
)

// names knows how the members of a service's structs are called in requests and answers: by rule, with exceptions.
type names struct {
	exceptions map[member]string
	element    func(field string) string // the rule for answers; in requests it is the field's own name
	item       string                    // what the elements of a list are called
}

type member struct {
	direction, owner, field string
}

// table reads a file of exceptions when it is first needed. Its lines: in|out Struct.Field name, where the name in
// an answer may be followed by a slash and the name of the list's elements.
func table(text *string, element func(string) string, item string) func() names {
	return sync.OnceValue(func() names {
		exceptions := map[member]string{}
		for line := range strings.Lines(*text) {
			if words := strings.Fields(line); words[0] != "#" {
				owner, field, _ := strings.Cut(words[1], ".")
				exceptions[member{words[0], owner, field}] = words[2]
			}
		}
		return names{exceptions, element, item}
	})
}

// in is the parameter of a member.
func (n names) in(owner reflect.Type, field string) string {
	if name, ok := n.exceptions[member{"in", owner.Name(), field}]; ok {
		return name
	}
	return field
}

// out is the element of a member and, if it is a list, that of its items.
func (n names) out(owner reflect.Type, field string) (element, item string) {
	name, ok := n.exceptions[member{"out", owner.Name(), field}]
	if !ok {
		return n.element(field), n.item
	}
	if element, item, ok := strings.Cut(name, "/"); ok {
		return element, item
	}
	return name, n.item
}

func sameName(field string) string { return field }

func lowerFirst(field string) string { return strings.ToLower(field[:1]) + field[1:] }
