// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

package wire

import (
	_ "embed"
	"reflect"
	"strings"
	"sync"
)

// api describes the protocol of a service.
type api struct {
	ec2, json bool   // the protocol; query if neither these nor rest is set
	rest      bool   // REST-JSON
	version   string // the parameter Version
	namespace string // of XML responses
	target    string // prefix of X-Amz-Target
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

// names holds the wire names of a service's members: a general rule and exceptions.
type names struct {
	exceptions map[member]string
	element    func(field string) string // rule for responses; in requests the name is the field's name
	item       string                    // name of list elements
}

type member struct {
	direction, owner, field string
}

// table parses a file of exceptions at first use. A line has the form: in|out Struct.Field name. The name in a response
// may be followed by a slash and the name of the list elements.
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

// in returns the parameter of a member.
func (n names) in(owner reflect.Type, field string) string {
	if name, ok := n.exceptions[member{"in", owner.Name(), field}]; ok {
		return name
	}
	return field
}

// out returns the element of a member and, for a list, the element of its items.
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
